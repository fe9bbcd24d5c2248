"""Draws a plot of what each norm is for: small runs on scikit-learn's digits.

python samples/draw_norms.py --output out
python samples/draw_norms.py --output out --only frozen renorm
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import norm_effects as effects
import torch

COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44")
WRONG, OFF = "wrong digits, percent", "off by, percent"
#: By the name of a plot: its run, title, the words for its axes, and whether x is logarithmic.
PLOTS: dict[str, tuple[Callable[[], effects.Curves], str, str, str, bool]] = {
    "frozen": (effects.frozen, "Fine-tuned, two images at a time", "steps", WRONG, False),
    "sync": (effects.sync, "Ten ranks, each with one digit", "epochs", WRONG, False),
    "ghost": (
        effects.ghost,
        "Batches of 320, normalized in parts",
        "images in a part",
        WRONG,
        True,
    ),
    "virtual": (effects.virtual, "How far logits are off", "images in the reference", OFF, False),
    "renorm": (effects.renorm, "Renorm's correction r, one channel", "training steps", "r", False),
    "separate": (effects.separate, "Trained on two domains in turn", "", WRONG, False),
    "adaptive": (effects.adaptive, "A domain it never saw", "test images at once", WRONG, True),
    "instance": (effects.instance, "Trained at full contrast", "contrast, percent", WRONG, False),
    "precise": (
        effects.precise,
        "After 16 steps of training",
        "images to recompute from",
        WRONG,
        True,
    ),
}


def draw(name: str, found: effects.Curves, path: Path) -> None:
    """Draw the curves of one run, or bars where the places have names."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    _, title, across, up, logarithmic = PLOTS[name]
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for place, (color, (label, points)) in enumerate(zip(COLORS, found.items(), strict=False)):
        xs, ys = zip(*points, strict=True)
        if name == "separate":
            shifted = [x + 0.36 * place for x in xs]
            bars = axes.bar(shifted, ys, 0.34, color=color, label=label)
            axes.bar_label(bars, fmt="%.1f", fontsize=13)
            axes.set_xticks([0.18, 1.18], ["clear digits", "faint digits"])
        else:
            axes.plot(xs, ys, "o-", color=color, label=label, linewidth=2.4, markersize=4)
    if logarithmic:
        axes.set_xscale("log", base=2)
        axes.set_xticks(xs, [f"{x:g}" for x in xs])
        axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=13)
    axes.set_xlabel(across, fontsize=14)
    axes.set_ylabel(up, fontsize=14)
    axes.set_title(title, fontsize=15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=13, loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=125)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Run, print the points, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out"))
    parser.add_argument("--only", nargs="+", choices=PLOTS, default=list(PLOTS))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # several would wait for each other longer than they compute
    for name in options.only:
        torch.manual_seed(0)
        found = PLOTS[name][0]()
        print(f"{name}: {PLOTS[name][3]}, by {PLOTS[name][2] or 'domain'}")
        for label, points in found.items():
            print(f"  {label:28s}" + " ".join(f"{x:g}: {y:.2f}" for x, y in points))
        draw(name, found, options.output / f"norm_{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())

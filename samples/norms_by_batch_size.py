"""Which norm for which batch: the error by how many samples a norm sees at once.

A network learns scikit-learn's digits. Every optimizer step is over 32 images, whatever the norm;
what varies is into how many forward passes they are divided (gradient accumulation), so that a
norm sees 2, 4, 8 or 32 images at once. The number of steps, the rate and the order of the
images are the same everywhere: the norm alone is compared (the experiment of Wu and Johnson,
"Rethinking 'Batch' in BatchNorm", 2021, section 4, in small).

    python samples/norms_by_batch_size.py --output out
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite

SIZES, SEEDS, EPOCHS = (2, 4, 8, 32), (0, 1), 4
STEP, TRAINED_ON, WIDTHS = 32, 1280, (16, 32, 64)
#: By its name in the plot: the rewrite, and its color.
WAYS: dict[str, tuple[Rewrite, str]] = {
    "Keep": (bnc.Keep(), "#222222"),
    "Keep, in training mode": (bnc.Keep(), "#bbbbbb"),
    "Keep, precise statistics": (bnc.Keep(), "#4477aa"),
    "Renorm()": (bnc.Renorm(), "#ccbb44"),
    "Group(8)": (bnc.Group(8), "#228833"),
}
Data = tuple[Tensor, Tensor]
Errors = dict[str, dict[int, list[float]]]


def digits() -> tuple[Data, Data]:
    """Return images (N, 1, 8, 8) and labels: 1280 to train on, and 517 that are held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1)[order] / 16
    labels = torch.as_tensor(data.target)[order]
    return (images[:TRAINED_ON], labels[:TRAINED_ON]), (images[TRAINED_ON:], labels[TRAINED_ON:])


def network(seed: int) -> nn.Sequential:
    """Return three blocks of convolution, batch norm and ReLU, a mean, and a classifier."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in zip((1, *WIDTHS), WIDTHS, strict=False):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], 10))


def steps(data: Data, seed: int, epochs: int) -> Iterator[Data]:
    """Yield what each optimizer step is over, in a seeded random order."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(data[1]), generator=generator)
        for rows in order.split(STEP):
            yield data[0][rows], data[1][rows]


def train(
    model: nn.Module, rewrite: Rewrite, data: Data, size: int, seed: int, epochs: int = EPOCHS
) -> nn.Module:
    """Train a converted copy, `size` images at a time, an optimizer step every 32; return it."""
    prepared = bnc.prepare(model, rewrite, accumulate=STEP // size)
    trained = prepared.model.train()
    optimizer = torch.optim.SGD(prepared.parameter_groups, lr=0.1, momentum=0.9)
    total = epochs * len(data[1]) // STEP
    rates = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=total)
    for images, labels in steps(data, seed, epochs):
        optimizer.zero_grad()
        for part, answers in zip(images.split(size), labels.split(size), strict=True):
            (F.cross_entropy(trained(part), answers) * len(part) / len(images)).backward()
        optimizer.step()
        rates.step()
    return trained


@torch.no_grad()
def error(model: nn.Module, data: Data, size: int = TRAINED_ON) -> float:
    """Return the share of wrong classes in percent; of the model as it is, in whatever mode."""
    parts = zip(data[0].split(size), data[1].split(size), strict=True)
    wrong = sum(int((model(images).argmax(1) != labels).sum()) for images, labels in parts)
    return 100 * wrong / len(data[1])


def measured(model: nn.Module, training: Data, held_out: Data, size: int) -> Iterator[float]:
    """Yield the errors of a model that keeps its norms: by EMA, as in training, and by precise."""
    yield error(model.eval(), held_out)
    whole = len(held_out[1]) // size * size  # one image alone has no batch
    with bnc.use_statistics(model, "batch"):
        yield error(model, (held_out[0][:whole], held_out[1][:whole]), size)
    bnc.recompute_statistics(model, training[0].split(256))
    yield error(model, held_out)


def experiment(sizes: tuple[int, ...] = SIZES, epochs: int = EPOCHS) -> Errors:
    """Train every way at every size with every seed; return the errors on what is held out."""
    training, held_out = digits()
    found: Errors = {name: {size: [] for size in sizes} for name in WAYS}
    kept = [name for name in WAYS if name.startswith("Keep")]
    for seed in SEEDS:
        for size in sizes:
            model = train(network(seed), bnc.Keep(), training, size, seed, epochs)
            for name, value in zip(kept, measured(model, training, held_out, size), strict=True):
                found[name][size].append(value)
            for name, (rewrite, _) in WAYS.items():
                if name not in kept:
                    model = train(network(seed), rewrite, training, size, seed, epochs)
                    found[name][size].append(error(model.eval(), held_out))
            print(f"seed {seed}, {size} images at a time: trained", file=sys.stderr)
    return found


def draw(found: Errors, path: Path) -> None:
    """Draw a line per norm, a dot per seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 5.0), layout="constrained")
    for name, by_size in found.items():
        sizes, color = list(by_size), WAYS[name][1]
        means = [sum(values) / len(values) for values in by_size.values()]
        style = "--" if name == "Keep, in training mode" else "-"
        axes.plot(sizes, means, style, color=color, label=name, linewidth=2.4)
        for size, values in by_size.items():
            axes.plot([size] * len(values), values, ".", color=color, markersize=7)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes], fontsize=13)
    ticks = (0.5, 1, 2, 5, 10, 20)
    axes.set_yticks(ticks, [f"{tick} %" for tick in ticks], fontsize=13)
    axes.minorticks_off()
    axes.set_xlabel("images that a norm sees at once", fontsize=14)
    axes.set_title("Wrong digits; every optimizer step is over 32", fontsize=14)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=12, loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=125)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Train, print the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out"))
    folder = parser.parse_args(arguments).output
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # several would wait for each other longer than they compute
    found = experiment()
    print(f"wrong digits in percent, mean of {len(SEEDS)} seeds, by images at once")
    print(f"{'':26s}" + "".join(f"{size:>7d}" for size in SIZES))
    for name, by_size in found.items():
        means = (sum(values) / len(values) for values in by_size.values())
        print(f"{name:26s}" + "".join(f"{mean:7.2f}" for mean in means))
    draw(found, folder / "norms_by_batch_size.png")
    print(f"wrote {folder / 'norms_by_batch_size.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

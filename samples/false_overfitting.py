"""False overfitting: the network is fine, its running statistics are not.

A network learns scikit-learn's digits by large batches: four updates an epoch, and running
statistics that are a moving average over a network that has long moved on. After each epoch the
errors by these and by precise ones, recomputed on a copy. The validation error alone looks like
overfitting or a diverging training; but the *training* error by the running statistics is as bad,
and by precise ones both are good (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021,
section 3). The norms' initial values are in the average too, 0.9 ^ 24 = 8 % of it after six epochs;
without them it still makes several times as many errors as the precise ones.

`diagnose` tells it from training data, the fix that it gives is one line and runs, and a network
that was trained well, by small batches and with a learning rate that decays, is left in peace.

    python samples/false_overfitting.py --output out
"""

import argparse
import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.reporting.records import ScoreInterval
from bnconvert.reporting.report import Report

SEED, TRAINED_ON, WIDTHS = 0, 1280, (16, 32, 64)
WAYS = {"running": "#ee6677", "batch": "#ccbb44", "precise": "#4477aa"}
#: What a network whose statistics fit its weights is not told.
STALE = {"BN103", "BN201", "BN202"}
Data = tuple[Tensor, Tensor]
Curves = dict[str, list[float]]


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: by SGD with momentum, at a rate that falls linearly."""

    epochs: int
    batch: int
    first_rate: float
    last_rate: float


LARGE_BATCHES = Schedule(epochs=6, batch=320, first_rate=0.2, last_rate=0.2)
CONTROL = Schedule(epochs=16, batch=64, first_rate=0.05, last_rate=0.0)


def digits() -> tuple[Data, Data]:
    """Return images (N, 1, 8, 8) and labels: 1280 to train on, and 517 that are held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(SEED))
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1)[order] / 16
    labels = torch.as_tensor(data.target)[order]
    return (images[:TRAINED_ON], labels[:TRAINED_ON]), (images[TRAINED_ON:], labels[TRAINED_ON:])


def network() -> nn.Module:
    """Return three blocks of convolution, batch norm and ReLU, a mean, and a classifier."""
    torch.manual_seed(SEED)
    layers: list[nn.Module] = []
    for inputs, outputs in zip((1, *WIDTHS), WIDTHS, strict=False):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], 10))


def in_batches(data: Data, size: int) -> list[Data]:
    """Return pairs of images and labels."""
    return list(zip(*(tensor.split(size) for tensor in data), strict=True))


def epochs(model: nn.Module, data: Data, schedule: Schedule) -> Iterator[int]:
    """Train, and yield the number of each epoch after it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=schedule.first_rate, momentum=0.9)
    steps = schedule.epochs * TRAINED_ON // schedule.batch
    falls = schedule.last_rate / schedule.first_rate
    rates = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, falls, total_iters=steps)
    generator = torch.Generator().manual_seed(SEED)
    for epoch in range(1, schedule.epochs + 1):
        order = torch.randperm(TRAINED_ON, generator=generator)
        model.train()
        for images, labels in in_batches((data[0][order], data[1][order]), schedule.batch):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            rates.step()
        yield epoch


@torch.no_grad()
def error(model: nn.Module, data: Data) -> float:
    """Return the share of wrong classes in eval mode, in percent."""
    images, labels = data
    return 100 * float((model.eval()(images).argmax(1) != labels).double().mean())


def followed(model: nn.Module, training: Data, validation: Data) -> Curves:
    """Train by large batches; return the errors after each epoch, by EMA and by precise."""
    curves: Curves = {}
    for _ in epochs(model, training, LARGE_BATCHES):
        precise = copy.deepcopy(model)  # so that training goes on undisturbed
        bnc.recompute_statistics(precise, in_batches(training, LARGE_BATCHES.batch))
        for name, data in (("validation", validation), ("training", training)):
            for statistics, network in (("EMA", model), ("precise", precise)):
                curves.setdefault(f"{name}, {statistics}", []).append(error(network, data))
    return curves


def diagnosed(model: nn.Module, batches: list[Data]) -> Report:
    """Diagnose with the loss and the wrong classes, sample by sample."""
    return bnc.diagnose(
        model,
        batches,
        loss=lambda output, batch: F.cross_entropy(output, batch[1], reduction="none"),
        metric=lambda output, batch: (output.argmax(1) != batch[1]).double(),
    )


def mend(model: nn.Module, batches: list[Data], report: Report) -> None:
    """Run the line of code that the finding gives."""
    for finding in report.findings:
        if finding.id == "BN202":
            exec(finding.code, {"bnc": bnc, "model": model, "batches": batches})


def rates(report: Report) -> dict[str, ScoreInterval]:
    """Return the error rate by each kind of statistics, and running minus precise."""
    return {found.statistics: found for found in report.intervals if found.score == "metric"}


def in_percent(rate: ScoreInterval) -> str:
    """Return an error rate with its 99 % interval."""
    ends = [f"{100 * end:.1f}" for end in (rate.low, rate.high) if end is not None]
    return f"{100 * rate.mean:.1f} ({' to '.join(ends)})"


def named(report: Report) -> set[str]:
    """Return the names of the findings."""
    return {finding.id for finding in report.findings}


def show(curves: Curves, reports: dict[str, Report]) -> None:
    """Print the errors by epoch, and what each diagnosis found."""
    print("wrong classes in percent, in eval mode")
    print("epoch" + "".join(f"{name:>21s}" for name in curves))
    for epoch, numbers in enumerate(zip(*curves.values(), strict=True), 1):
        print(f"{epoch:5d}" + "".join(f"{number:21.1f}" for number in numbers))
    for name, report in reports.items():
        found = rates(report)
        said = ", ".join(f"{in_percent(found[way])} by {way}" for way in WAYS)
        print(f"\n{name}: wrong training images in percent: {said} statistics")
        print(f"  by running more than by precise: {in_percent(found['running - precise'])}")
        for finding in report.findings:
            print(f"  {finding.id} {finding.severity}: {finding.message}\n    {finding.fix}")
        if not report.findings:
            print("  no findings")


def draw(curves: Curves, reports: dict[str, Report], path: Path) -> None:
    """Draw the errors by epoch, and the three error rates of each diagnosis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), sharey=True)
    for name, numbers in curves.items():
        color = WAYS["precise" if name.endswith("precise") else "running"]
        style = "o-" if name.startswith("validation") else "x--"
        left.plot(range(1, len(numbers) + 1), numbers, style, color=color, label=name)
    left.set_xlabel("epochs of four updates")
    left.set_ylabel("wrong classes in eval, percent")
    left.set_title("One network, two sorts of statistics")
    left.set_ylim(0, 100)
    left.legend(frameon=False)
    for place, report in enumerate(reports.values()):
        for shift, (way, color) in zip((-0.27, 0, 0.27), WAYS.items(), strict=True):
            found = rates(report)[way]
            low, rate, high = (100 * (end or 0.0) for end in (found.low, found.mean, found.high))
            right.bar(place + shift, rate, 0.25, color=color, label=None if place else way)
            right.errorbar(place + shift, rate, [[rate - low], [high - rate]], color="#444444")
            right.text(place + shift, high + 1, f"{rate:.1f}", ha="center")
    right.set_xticks(range(len(reports)), [name.replace(", ", ",\n") for name in reports])
    right.set_title("Wrong training images by these statistics, with 99 % intervals")
    right.legend(frameon=False)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Train, diagnose, mend, draw; return 0 if it came out as the paper says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out"))
    folder = parser.parse_args(arguments).output
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # several would wait for each other longer than they compute
    training, validation = digits()
    batches = in_batches(training, LARGE_BATCHES.batch)
    model, control = network(), network()
    curves = followed(model, training, validation)
    before = diagnosed(model, batches)
    mend(model, batches, before)
    after = diagnosed(model, batches)
    for _ in epochs(control, training, CONTROL):
        pass
    reports = {
        "large batches": before,
        "large batches, recomputed": after,
        "control, trained well": diagnosed(control, batches),
    }
    show(curves, reports)
    draw(curves, reports, folder / "false_overfitting.png")
    before.plot(folder / "diagnosis.png")
    before.to_html(folder / "diagnosis.html", command="python samples/false_overfitting.py")
    names = ("false_overfitting.png", "diagnosis.png", "diagnosis.html")
    print("\nwrote " + ", ".join(str(folder / name) for name in names))
    found = [named(report) for report in reports.values()]
    told = "BN202" in found[0] and not STALE & (found[1] | found[2])
    return (
        0 if told and curves["validation, EMA"][-1] > 2 * curves["validation, precise"][-1] else 3
    )


if __name__ == "__main__":
    sys.exit(main())

"""Rows for diagnoses, moments, and the plot of measured statistics."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import bnconvert as bnc
from bnconvert.numerics.moments import moments
from tests.remedies.row import Row
from tests.remedies.statistics import BATCHES, recompute
from tests.zoo import IMAGE, Net, trained


def merge(other: Iterable[int]) -> None:
    moments(torch.ones(2, 3)).merge(moments(torch.ones(2, *other)))


def scored(rows: int) -> Any:
    return bnc.diagnose(
        nn.BatchNorm2d(3), BATCHES, loss=lambda output, batch: output.mean((1, 2, 3))[:rows]
    )


def plot(folder: Path, name: str, measured: bool) -> Any:
    report = recompute().report if measured else bnc.inspect(Net())
    report.plot(folder / name)


def with_domains(*domains: Any) -> Any:
    return bnc.diagnose(
        nn.BatchNorm2d(3), BATCHES, domains=domains[0] if len(domains) == 1 else domains
    )


DIAGNOSIS = (
    Row(
        "diagnosis/domains.py",
        "domains is a",
        lambda _: with_domains("day"),
        lambda _: (with_domains("day", "night"), with_domains(lambda batch: "day")),
    ),
    Row(
        "diagnosis/domains.py",
        "entries for",
        lambda _: with_domains(["day"]),
        lambda _: (with_domains("day", "night"), with_domains(lambda batch: "day")),
    ),
    Row(
        "diagnosis/domains.py",
        "names for",
        lambda _: with_domains("day", ["day", "night"]),
        lambda _: with_domains("day", ["day", "night"] * 2),
    ),
    Row(
        "diagnosis/scores.py",
        "return one number for the batch",
        lambda _: scored(3),
        lambda _: (scored(1), scored(4)),
    ),
    Row(
        "diagnosis/evaluation.py",
        "batches gave no data",
        lambda _: bnc.diagnose(trained(Net()), []),
        lambda _: bnc.diagnose(trained(Net()), [IMAGE[0]]),
    ),
    Row("numerics/moments.py", "do not merge", lambda _: merge([4]), lambda _: merge([3])),
    Row(
        "numerics/moments.py",
        "is undefined",
        lambda _: moments(torch.ones(1, 3)).unbiased_variance(),
        lambda _: moments(torch.ones(2, 3)).unbiased_variance(),
    ),
    Row(
        "reporting/plot.py",
        "no statistics to plot",
        lambda folder: plot(folder, "a.png", measured=False),
        lambda folder: plot(folder, "a.png", measured=True),
    ),
    Row(
        "reporting/plot.py",
        "is not a format",
        lambda folder: plot(folder, "a.xyz", measured=True),
        lambda folder: [plot(folder, f"a{end}", measured=True) for end in (".png", ".svg", ".pdf")],
        slow=True,
    ),
)

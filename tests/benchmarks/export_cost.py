"""Measure what a proof costs: the time of a verified export over that of torch's bare one.

Run by hand: python -m tests.benchmarks.export_cost [--models tv:resnet50,...] [--rounds 3]
    [--json cost.json]
Both run in turns in one process, after one run of each that is not counted; a ratio is taken within
each round, of CPU time, which other work on the machine disturbs less. By default every third of
the timm, torchvision and segmentation networks that are captured whole.
"""

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bnconvert.graphs.example import Example
from tests.architectures.zoo import REAL, chosen
from tests.benchmarks import rivals
from tests.benchmarks.text import aligned

#: Written as one traced forward, which takes minutes.
_DETECTORS = "rcnn", "retinanet", "ssdlite", "fcos"
_EVERY = 3


def by_default() -> list[str]:
    """Return every third network but for detectors."""
    names = [a.full_name for a in REAL if a.group in ("timm", "tv", "smp")]
    whole = [name for name in names if not any(word in name for word in _DETECTORS)]
    return whole[1::_EVERY]


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the CPU and the wall seconds of some work."""
    gc.collect()
    spent, start = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - spent, time.perf_counter() - start


def measured(name: str, rounds: int) -> dict[str, Any]:
    """Return a model's seconds, by round, of the bare export and of ours."""
    (architecture,) = chosen([name])
    model, inputs = architecture.make()
    example = Example.of(inputs)
    found: dict[str, Any] = {"model": name, "bare": [], "verified": []}
    with tempfile.TemporaryDirectory() as folder:
        bare, verified = (Path(folder) / f"{way}.onnx" for way in ("bare", "verified"))
        for number in range(rounds + 1):
            taken = {
                "bare": seconds(lambda: rivals.torch_onnx(model, example, bare)),
                "verified": seconds(lambda: rivals.ours(model, example, verified)),
            }
            if number:
                for way, figures in taken.items():
                    found[way].append([round(figure, 3) for figure in figures])
    return found


def ratios_of(row: dict[str, Any]) -> list[float]:
    """Return the ratio of CPU times in each round."""
    return [ours[0] / bare[0] for ours, bare in zip(row["verified"], row["bare"], strict=True)]


def line(row: dict[str, Any]) -> tuple[str, ...]:
    """Return a row of the table: seconds and the ratio's median, least and largest, in CPU time."""
    ratios = ratios_of(row)
    middle = [statistics.median(each[0] for each in row[way]) for way in ("bare", "verified")]
    spread = f"[{min(ratios):.2f}, {max(ratios):.2f}]"
    return (
        row["model"],
        *(f"{value:.2f}" for value in middle),
        f"{statistics.median(ratios):.2f} {spread}",
    )


def main() -> None:
    """Measure, print a table, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=lambda text: text.split(","), default=by_default())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in given.models:
        rows.append(measured(name, given.rounds))
        print(*line(rows[-1]), file=sys.stderr, flush=True)
    print(aligned(("model", "bare, CPU s", "verified, CPU s", "ratio"), [line(r) for r in rows]))
    middles = sorted(statistics.median(ratios_of(row)) for row in rows)
    median, worst = statistics.median(middles), middles[-1]
    print(f"{len(rows)} networks: the ratio's median {median:.2f}, the worst {worst:.2f}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

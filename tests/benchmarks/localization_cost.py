"""Measure what a detector's export costs, and to find the operator of a fault beside a proof.

Run by hand: python -m tests.benchmarks.localization_cost [--detectors tv:...] [--models tv:...]
    [--rounds 3] [--json cost.json]
For a localization, one weight of the middle convolution of a proven file is made wrong. The proof
of the right file and that of the wrong one run in turns in one process, after one run of each that
is not counted. All seconds are of CPU time, which other work on the machine disturbs less.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.graphs.example import Inputs
from tests.architectures.zoo import chosen
from tests.benchmarks.export_cost import seconds
from tests.benchmarks.text import aligned
from tests.faults import plant

DETECTORS = "tv:fasterrcnn_mobilenet_v3_large_320_fpn", "tv:ssdlite320_mobilenet_v3_large"
MODELS = "tv:resnet50", "timm:mobilenetv3_small_050", DETECTORS[0]
#: What they may be: seconds of an export, and of a localization for one of a verification.
LIMITS = {"export": 40.0, "localization": 2.0}
_COLUMNS = ("work", "model", "CPU s", "verification, CPU s", "ratio", "allowed")

Row = dict[str, Any]


def export(name: str) -> Row:
    """Return the seconds of a verified export of a model."""
    (architecture,) = chosen([name])
    model, inputs = architecture.make()
    with tempfile.TemporaryDirectory() as folder:
        spent, _ = seconds(lambda: bnc.export(model, inputs, Path(folder) / "m.onnx"))
    return {"work": "export", "model": name, "seconds": [round(spent, 2)]}


def localization(name: str, rounds: int) -> Row:
    """Return the seconds of verifying a right file, and of localizing a fault in a wrong one."""
    (architecture,) = chosen([name])
    model, inputs = architecture.make()
    row: Row = {"work": "localization", "model": name, "seconds": [], "verification": []}
    with tempfile.TemporaryDirectory() as folder:
        right, wrong = (Path(folder) / f"{kind}.onnx" for kind in ("right", "wrong"))
        bnc.export(model, inputs, right)
        convolutions = [n for n in onnx.load(right).graph.node if n.op_type == "Conv"]
        plant(right, wrong, convolutions[len(convolutions) // 2].output[0], "weight")
        for number in range(rounds + 1):
            verification, _ = seconds(lambda: bnc.verify(model, right, inputs))
            spent, row["found"] = localized(model, wrong, inputs)
            if number:
                row["verification"].append(round(verification, 2))
                row["seconds"].append(round(spent, 2))
    return row


def localized(model: nn.Module, wrong: Path, inputs: Inputs) -> tuple[float, str]:
    """Return the seconds of the localization in a verification that fails, and what it found."""
    began: list[float] = []

    def progress(done: int, total: int | None, what: str) -> None:
        if what.startswith("localizing"):
            began.append(time.process_time())

    try:
        bnc.verify(model, wrong, inputs, progress=progress)
    except bnc.VerificationError as failure:
        spent = time.process_time() - began[0]
        said = [f.message for f in failure.report.findings if f.id == "BN404"]
        return spent, (said or [note for note in failure.report.notes if "diverges" in note])[0]
    raise RuntimeError(f"{wrong}: the planted fault was not caught")


def line(row: Row) -> tuple[str, ...]:
    """Return a row of the table: medians, and the median of the ratios within each round."""
    cost, beside, limit = row["seconds"], row.get("verification", []), LIMITS[row["work"]]
    ratios = [own / other for own, other in zip(cost, beside, strict=False)]
    return (
        row["work"],
        row["model"],
        f"{statistics.median(cost):.1f}",
        f"{statistics.median(beside):.1f}" if beside else "",
        f"{statistics.median(ratios):.2f}" if ratios else "",
        f"{limit:g} x" if ratios else f"{limit:g} s",
    )


def main() -> None:
    """Measure, print a table and what was found, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    parser.add_argument("--detectors", type=names, default=list(DETECTORS))
    parser.add_argument("--models", type=names, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [export(name) for name in given.detectors]
    rows += [localization(name, given.rounds) for name in given.models]
    print(aligned(_COLUMNS, [line(row) for row in rows]))
    for row in rows:
        if "found" in row:
            print(f"\n{row['model']}: {row['found']}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

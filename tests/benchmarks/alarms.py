"""What `inspect` finds in new networks, where nothing should be wrong.

Run by hand (two minutes for all 154):

    python -m tests.benchmarks.alarms --json alarms.json
    python -m tests.benchmarks.alarms --models timm:resnet50 --seconds
"""

import argparse
import json
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn

import bnconvert as bnc
from tests.architectures.zoo import BY_NAME, REAL


def fresh(name: str) -> nn.Module:
    """Build an architecture as its package makes it: with new weights, or the ones that it has."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the packages' own
        return BY_NAME[name].build()


def found_in(name: str, training: bool) -> dict[str, Any]:
    """Inspect one network; return its findings by id and severity, and the seconds."""
    model = fresh(name).train(training)
    begin = time.perf_counter()
    report = bnc.inspect(model)
    return {
        "name": name,
        "training": training,
        "norms": len(report.norms),
        "seconds": round(time.perf_counter() - begin, 3),
        "findings": [
            {"id": f.id, "severity": f.severity, "norms": len(f.paths), "message": f.message}
            for f in report.findings
        ],
    }


def main() -> None:
    """Inspect the networks in both modes, and print what is found how often."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", help="full names; all where there are none")
    parser.add_argument("--json", type=Path, help="where to write all rows")
    given = parser.parse_args()
    names = given.models or [architecture.full_name for architecture in REAL]
    rows = [found_in(name, training) for name in names for training in (True, False)]
    counts = Counter(
        (f["id"], f["severity"], "training" if row["training"] else "eval")
        for row in rows
        for f in row["findings"]
    )
    for (id, severity, mode), networks in sorted(counts.items()):
        print(f"{id} {severity:8} {mode:8} {networks:4} of {len(names)} networks")
    for row in rows:
        for f in row["findings"]:
            if f["severity"] != "info":
                mode = "training" if row["training"] else "eval"
                print(f"{row['name']} ({mode}): {f['id']} {f['severity']}: {f['message'][:120]}")
    print(
        f"slowest: {max(rows, key=lambda row: float(row['seconds']))['name']}, "
        f"{max(float(row['seconds']) for row in rows):.2f} s"
    )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

"""What `inspect` finds in new networks, where nothing should be wrong.

Run by hand (some minutes for all 154):

    python -m tests.benchmarks.alarms --json alarms.json
    python -m tests.benchmarks.alarms --models timm:resnet18 smp:Unet
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


def found_in(name: str) -> list[dict[str, Any]]:
    """Inspect one network in both modes; return its findings, and the seconds of each."""
    model, rows = fresh(name), []
    for training in (True, False):
        begin = time.perf_counter()
        report = bnc.inspect(model.train(training))
        seconds = time.perf_counter() - begin
        found = [(f.id, f.severity, len(f.paths), f.message) for f in report.findings]
        mode = "training" if training else "eval"
        rows.append({"name": name, "mode": mode, "seconds": round(seconds, 3), "found": found})
    return rows


def main() -> None:
    """Inspect the networks in both modes, and print what is found how often."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", help="full names; all where there are none")
    parser.add_argument("--json", type=Path, help="where to write all rows")
    given = parser.parse_args()
    rows, missing = [], []
    for name in given.models or [architecture.full_name for architecture in REAL]:
        try:
            rows += found_in(name)
        except ModuleNotFoundError:
            missing.append(name)
    counts = Counter(
        (id, severity, row["mode"]) for row in rows for id, severity, *_ in row["found"]
    )
    print(f"{len(rows) // 2} networks; no package for: {', '.join(missing) or 'none'}")
    for (id, severity, mode), networks in sorted(counts.items()):
        print(f"{id} {severity:8} {mode:8} {networks:4} networks")
    for row in rows:
        for id, severity, norms, message in row["found"]:
            if severity != "info":
                print(f"{row['name']}, {row['mode']}: {id} {severity}, {norms} norms: {message}")
    slowest = max(rows, key=lambda row: float(row["seconds"]))
    print(f"slowest: {slowest['name']}, {slowest['seconds']} s")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

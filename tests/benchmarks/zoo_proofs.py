"""The sweep of proofs: export every model; say which files are proven, and why others are not."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.reporting.report import Report
from tests.architectures.zoo import BY_NAME
from tests.benchmarks.isolated import Row, one_line
from tests.benchmarks.text import aligned


def prove_one(name: str) -> Row:
    """Export one model and return what became of it; whatever is raised is the verdict."""
    model, inputs = BY_NAME[name].make()
    with tempfile.TemporaryDirectory() as folder:
        try:
            report = bnc.export(model, Example.of(inputs), Path(folder) / "m.onnx")
        except bnc.InconclusiveError as failure:
            return _row(failure.report, failure.reasons)
        except bnc.VerificationError as failure:
            return _row(failure.report, [str(failure)])
        except bnc.BnconvertError as failure:
            return {"verdict": "failed to run", "reasons": [one_line(failure)]}
    return _row(report, [])


def _row(report: Report, reasons: Sequence[str]) -> Row:
    warned = [f"{f.id}: {f.message[:200]}" for f in report.findings if f.severity == "warning"]
    checks = len(report.checks)
    return {
        "verdict": report.verdict,
        "reasons": [*reasons],
        "warnings": warned,
        "checks": checks,
        "notes": [*report.notes],
    }


def say(row: Row) -> str:
    """Return a row in a few words."""
    return f"{row['verdict']}, {row.get('checks', 0)} checks {'; '.join(row['reasons'])[:150]}"


def summary(rows: Sequence[Row]) -> str:
    """Return the counts by verdict, then a line for each model that is not proven."""
    counts = Counter(row.get("verdict", "no answer") for row in rows)
    others = [
        (row["model"], row.get("verdict", "no answer"), _reason(row))
        for row in rows
        if row.get("verdict") != "agrees"
    ]
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return f"{told} of {len(rows)}\n\n" + aligned(("model", "verdict", "reason"), others)


def _reason(row: Row) -> str:
    return str(row.get("error") or "; ".join(row["reasons"]))[:300]

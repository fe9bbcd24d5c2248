"""The metadata of an exported file: versions, its model, its norms and the proof."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import torch

from bnconvert.exporting.origin import KEY as ORIGIN, Origin
from bnconvert.reporting.records import NormRow
from bnconvert.reporting.report import Report


def metadata(origin: Origin, report: Report) -> dict[str, str]:
    """Return a file's metadata: versions, the model, the outcome of each norm, the proof.

    Args:
        origin: what was exported.
        report: the export's, with one row per call of a norm, and the file's digest.
    """
    classes = Counter({row.path: row.class_name for row in report.norms}.values())
    figures = {"passed": not report.failures, "checks": len(report.checks)} | {
        f"worst {measure}": max((c.error for c in report.checks if c.measure == measure), default=0)
        for measure in ("norm", "peak", "rows")
    }
    return {
        "bnconvert.version": version("bnconvert"),
        "bnconvert.torch": torch.__version__,
        "bnconvert.model": origin.model,
        "bnconvert.policy": json.dumps(classes),
        "bnconvert.folded": str(report.count("folded")),
        "bnconvert.standing": str(report.count("standing")),
        "bnconvert.norms": json.dumps(list(_norms(report.norms))),
        "bnconvert.verification": json.dumps(figures),
        "bnconvert.content": report.digests["file"],
        ORIGIN: origin.to_json(),
    }


def _norms(rows: Sequence[NormRow]) -> Iterator[dict[str, str | int]]:
    """Yield the outcome of each norm; of one that is called several times, of each call."""
    total = Counter(row.path for row in rows)
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row.path] += 1
        call = {"call": seen[row.path]} if total[row.path] > 1 else {}
        fold = {"fold": row.fold} if row.fold else {}
        yield {"path": row.path, **call, "outcome": row.outcome, **fold, "reason": row.reason}

"""The rows of a report as a pandas DataFrame."""

import importlib
from dataclasses import asdict, fields
from typing import Any, Literal, get_args

from bnconvert.errors import ReportError
from bnconvert.reporting.records import Check, Contents, Finding, NormRow, StatisticsRow

Rows = Literal["norms", "statistics", "findings", "checks"]
_RECORDS: dict[Rows, type] = {
    "norms": NormRow,
    "statistics": StatisticsRow,
    "findings": Finding,
    "checks": Check,
}


def frame_of(report: Contents, rows: Rows | None) -> Any:
    """Return rows of a report as a pandas DataFrame; by default the first of which there are any.

    Raises:
        ReportError: pandas is not installed, or a report has no such rows.
    """
    try:
        pandas: Any = importlib.import_module("pandas")
    except ImportError as failure:
        raise ReportError(f"pandas cannot be imported ({failure}); pip install pandas") from None
    names: tuple[Rows, ...] = get_args(Rows)
    wanted = rows or next((name for name in names if getattr(report, name)), "norms")
    if wanted not in names:
        raise ReportError(f"{wanted}: a report has no such rows; use one of {', '.join(names)}")
    columns = [field.name for field in fields(_RECORDS[wanted])]
    return pandas.DataFrame([asdict(row) for row in getattr(report, wanted)], columns=columns)

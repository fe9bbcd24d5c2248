"""Plain text: rows under columns, as wide as they are."""

import math
from collections.abc import Iterable, Sequence


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return `rows` under `columns`: text to the left, figures to the right."""
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if i and _is_figure(cell) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    return "\n".join(map(line, (columns, *rows)))


def _is_figure(cell: str) -> bool:
    return bool(cell) and (cell[0].isdigit() or cell in ("inf", "nan"))


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean of positive values; NaN of none."""
    logs = [math.log(value) for value in values if value > 0]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return `rows` under `columns` as a table of a Markdown page."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

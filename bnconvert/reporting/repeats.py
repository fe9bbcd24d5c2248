"""Repeats in a table: what all of its rows say, which is said once instead."""

from collections.abc import Sequence
from dataclasses import dataclass

from bnconvert.reporting.cells import Cells

_SEVERAL = 3  # rows, from which on what all have in common is not repeated
_PART = "; "  # between the parts of a remark


@dataclass(frozen=True)
class Unrepeated:
    """A table without what is the same in all rows.

    Attributes:
        columns: those that are left; the first one always is.
        rows: their cells.
        common: by column, what all rows say.
    """

    columns: tuple[str, ...]
    rows: Cells
    common: tuple[tuple[str, str], ...]


def without_repeats(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Unrepeated:
    """Return a table without the columns that are empty, or say the same in three rows or more.

    The last column is of remarks: the parts with which all of them end are common too.
    """
    common: list[tuple[str, str]] = []
    kept = [0]
    for i in range(1, len(columns)):
        values = {row[i] for row in rows}
        if len(rows) < _SEVERAL or len(values) > 1:
            kept += [i] if values != {""} else []
        elif values != {""}:
            common.append((columns[i], values.pop()))
    cells = [tuple(row[i] for i in kept) for row in rows]
    if kept[-1] == len(columns) - 1 > 0 and len(rows) >= _SEVERAL:
        remarks, said = _without_last_parts([row[-1] for row in cells])
        common += [(columns[-1], said)] if said else []
        cells = [(*row[:-1], remark) for row, remark in zip(cells, remarks, strict=True)]
    return Unrepeated(tuple(columns[i] for i in kept), cells, tuple(common))


def _without_last_parts(remarks: Sequence[str]) -> tuple[list[str], str]:
    """Return remarks without the parts with which all of them end, and those parts."""
    parts = [remark.split(_PART) for remark in remarks]
    shared = 0
    while all(len(own) > shared for own in parts) and len({own[-1 - shared] for own in parts}) == 1:
        shared += 1
    kept = [_PART.join(own[: len(own) - shared]) for own in parts]
    return kept, _PART.join(parts[0][len(parts[0]) - shared :])

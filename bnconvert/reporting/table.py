"""Text for people: tables in the width of the terminal, without colour codes; short lists."""

import io
import shutil
from collections import Counter
from collections.abc import Sequence

_PLAIN_WIDTH = 140  # of a pipe or a file, which has no width
_LEAST_WIDTH = 60  # below that, lines are wrapped rather than cells


def width_here() -> int:
    """Return how many characters a line may have."""
    return shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return `rows` under `columns` as text; a column without any content is left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    drawn = Table(box=None, pad_edge=False, header_style="")
    for i in shown:
        numeric = i > 0 and all(row[i].isdigit() or row[i] in ("", "?") for row in rows)
        drawn.add_column(columns[i], justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(row[i]) for i in shown))
    width = width_here()
    sink = io.StringIO()
    Console(file=sink, width=max(width, _LEAST_WIDTH), color_system=None).print(drawn)
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines())


def listed(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def footnoted(remarks: Sequence[str], often: int = 3) -> tuple[list[str], list[str]]:
    """Replace frequent remarks by numbers; return all remarks, and the numbered footnotes."""
    counts = Counter(remark for remark in remarks if remark)
    numbers = {
        remark: f"({n})"
        for n, remark in enumerate((r for r, count in counts.items() if count >= often), 1)
    }
    return [numbers.get(r, r) for r in remarks], [f"{n} {r}" for r, n in numbers.items()]

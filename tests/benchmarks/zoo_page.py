"""The tables of docs/benchmark.md, from the rows of the comparison.

python -m tests.benchmarks.zoo_page zoo.jsonl > tables.md
"""

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.benchmarks.isolated import Row
from tests.benchmarks.rivals import (
    BASE,
    BY_CLASS,
    COLUMNS,
    FOR_SOME,
    IN_OPENVINO,
    OPENVINO,
    OURS,
    OURS_IN_OPENVINO,
    SLIM,
)
from tests.benchmarks.text import geometric_mean, markdown
from tests.benchmarks.zoo_tables import BATCHES, NOISE, ratio, sums, units

#: In which order kinds are tried; the last one takes what is left.
KINDS: dict[str, Callable[[Row], bool]] = {
    "trained weights": lambda row: bool(row.get("trained")),
    "segmentation, detection": lambda row: row["model"].startswith(("smp:", "tvbb:")),
    "no batch norm": lambda row: not row["norms"],
    "branches that merge": lambda row: bool(_graph(row, BY_CLASS)),
    "convolutions and attention": lambda row: bool((_graph(row, BASE) or {}).get("attention")),
    "convolutions": lambda row: True,
}
#: Ours on the left, what it is compared with on the right, both in the same runtime or not.
PAIRS = (
    *((OURS, column) for column in COLUMNS if column not in (OURS, OURS_IN_OPENVINO)),
    (OURS_IN_OPENVINO, OPENVINO),
)


def _graph(row: Row, column: str) -> dict[str, int] | None:
    found: dict[str, int] | None = row["columns"].get(column, {}).get("graph")
    return found


def _present(good: Sequence[Row]) -> list[str]:
    return [column for column in COLUMNS if any(_graph(row, column) for row in good)]


def by_tool(good: Sequence[Row]) -> str:
    """Return a line for each tool over all models: what is left, how far off, how fast."""
    head = ("", "files", "norms", "mul, add", "conv", "nodes", "MB")
    errors = ("error, median", "worst", "time")
    latencies = (f"latency, batch {batch}" for batch in BATCHES)
    lines = []
    for column in _present(good):
        name, files, *cells = sums(good, column)
        if column in FOR_SOME:  # whose sums would be over fewer models
            cells[:_SUMMED] = [""] * _SUMMED
        if column in IN_OPENVINO:  # which writes no file
            cells[_SUMMED - 1] = ""
        lines.append((name, files, *cells))
    return markdown((*head, *errors, *latencies), lines)


def by_pair(good: Sequence[Row]) -> str:
    """Return a line for each tool: on how many models ours is better, alike and worse."""
    lines = []
    for ours, theirs in PAIRS:
        both = [row for row in good if _graph(row, ours) and _graph(row, theirs)]
        if not both:
            continue
        nodes = [(_nodes(row, ours), _nodes(row, theirs)) for row in both]
        lines.append(
            (
                f"{ours} : {theirs}",
                str(len(both)),
                f"{geometric_mean(a / b for a, b in nodes):.3f}",
                _three((a > b) - (a < b) for a, b in nodes),
                *(cell for batch in BATCHES for cell in _latency(both, ours, theirs, batch)),
            )
        )
    latencies = [cell for batch in BATCHES for cell in (f"latency, batch {batch}", _SPEEDS)]
    return markdown(("", "models", "nodes", _SIGNS, *latencies), lines)


#: How many cells of a tool's line are sums.
_SUMMED = 5
_SIGNS, _SPEEDS = "fewer, same, more", "faster, same, slower"


def _nodes(row: Row, column: str) -> int:
    graph = _graph(row, column)
    assert graph is not None
    return graph["nodes"]


def _three(signs: Iterable[int]) -> str:
    """Return how many signs are negative, zero and positive."""
    counts = Counter(signs)
    return " / ".join(str(counts[sign]) for sign in (-1, 0, 1))


def verdict(quartiles: tuple[float, float, float]) -> int:
    """Return -1 for faster, 1 for slower, 0 for what the noise does not tell apart."""
    low, middle, high = quartiles
    return (middle > NOISE and low > 1) - (middle < 1 / NOISE and high < 1)


def _latency(rows: Sequence[Row], ours: str, theirs: str, batch: str) -> tuple[str, str]:
    found = [quartiles for row in rows if (quartiles := ratio(row, ours, theirs, batch))]
    if not found:
        return "", ""
    mean = geometric_mean(middle for _, middle, _ in found)
    return f"{mean:.3f}", _three(map(verdict, found))


def kind_of(row: Row) -> str:
    """Return what a model is: of the kinds, the first that fits."""
    return next(kind for kind, fits in KINDS.items() if fits(row))


def by_kind(good: Sequence[Row]) -> str:
    """Return a line for each kind of models: our nodes and latency over each tool's."""
    columns = [column for column in _present(good) if column != OURS]
    lines = []
    for kind in KINDS:
        rows = [row for row in good if kind_of(row) == kind and _graph(row, OURS)]
        if not rows:
            continue
        cells = []
        for column in (c for c in columns if c != OURS_IN_OPENVINO):
            both = [row for row in rows if _graph(row, column)]
            nodes = geometric_mean(_nodes(row, OURS) / _nodes(row, column) for row in both)
            mean, _ = _latency(both, OURS, column, "1")
            cells.append(f"{nodes:.2f}, {mean}" if both else "")
        both = [row for row in rows if _graph(row, OURS_IN_OPENVINO) and _graph(row, OPENVINO)]
        mean, _ = _latency(both, OURS_IN_OPENVINO, OPENVINO, "1")
        lines.append((kind, str(len(rows)), *cells, mean))
    head = [f": {column}" for column in columns if column != OURS_IN_OPENVINO]
    return markdown(("", "models", *head, "both in OpenVINO"), lines)


def per_model(rows: Sequence[Row]) -> str:
    """Return a line for each model: the nodes of every tool, our latency and error."""
    columns = _present([row for row in rows if not row.get("error")])
    head = ("model", "norms", *(f"{column}" for column in columns))
    lines = []
    for row in rows:
        if row.get("error"):
            lines.append((row["model"], "", str(row["error"])[:80], *[""] * (len(columns) + 3)))
            continue
        nodes = [str(graph["nodes"]) if (graph := _graph(row, c)) else "" for c in columns]
        pairs = ((OURS, SLIM, "1"), (OURS, SLIM, "8"), (OURS_IN_OPENVINO, OPENVINO, "1"))
        spread = [_spread(ratio(row, *pair)) for pair in pairs]
        error = units(row, OURS) if OURS in row["columns"] else None
        family = f" ({row['family']})" if row.get("family") else ""
        last = "" if error is None else f"{error:.2f}"
        lines.append((row["model"] + family, str(row["norms"]), *nodes, *spread, last))
    latencies = (f"over {SLIM}, batch 1", "batch 8", "in OpenVINO")
    return markdown((*head, *latencies, "error"), lines)


def _spread(quartiles: tuple[float, float, float] | None) -> str:
    if quartiles is None:
        return ""
    low, middle, high = quartiles
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def losses(good: Sequence[Row]) -> str:
    """Return the models where ours is behind, by tool and by what."""
    lines = []
    for ours, theirs in PAIRS:
        both = [row for row in good if _graph(row, ours) and _graph(row, theirs)]
        more = [row for row in both if _nodes(row, ours) > _nodes(row, theirs)]
        told = [f"{r['model']} ({_nodes(r, ours)} for {_nodes(r, theirs)})" for r in more]
        slow = [
            f"{row['model']} ({quartiles[1]:.2f}, batch {batch})"
            for row in both
            for batch in BATCHES
            if (quartiles := ratio(row, ours, theirs, batch)) and verdict(quartiles) > 0
        ]
        if both:
            cells = (", ".join(told) or "none", ", ".join(slow) or "none")
            lines.append((f"{ours} : {theirs}", *cells))
    return markdown(("", "more nodes", "slower"), lines)


def failures(good: Sequence[Row]) -> str:
    """Return what made no file, or a file that is not as it should be."""
    lines = [
        (row["model"], column, measured["failure"][:160].replace("|", "/"))
        for row in good
        for column, measured in row["columns"].items()
        if measured["failure"]
    ]
    return markdown(("model", "tool", "what it said"), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, nargs="+", help="files of rows; of a model, the last")
    lines = [line for file in parser.parse_args().rows for line in file.read_text().splitlines()]
    rows = list({row["model"]: row for row in map(json.loads, lines)}.values())
    good = [row for row in rows if not row.get("error")]
    own = statistics.median(row["own distance"] for row in good)
    print(f"{len(good)} of {len(rows)} models; the models' own error, median {own:.1e}\n")
    tables = (by_tool(good), by_pair(good), by_kind(good), losses(good), failures(good))
    print(*tables, per_model(rows), sep="\n\n")


if __name__ == "__main__":
    main()

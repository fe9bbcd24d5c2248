"""The benchmark's tables: a line per model and column, and what they amount to."""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.benchmarks.isolated import Row
from tests.benchmarks.rivals import BASE, BY_CLASS, COLUMNS, FOR_SOME, OURS, SLIM
from tests.benchmarks.text import aligned, geometric_mean

#: What is called slower: a median ratio above it, and the lower quartile above 1.
NOISE = 1.02
BATCHES = ("1", "8")
_LATENCIES = tuple(f"latency, batch {batch}" for batch in BATCHES)
_GRAPH = ("norms", "mul add", "conv", "nodes", "MB")
HEAD = ("model", "column", *_GRAPH, "error", "time", *_LATENCIES, "")
SUMS = ("column", "files", *_GRAPH, "error", "at worst", "time", *_LATENCIES)


def ratio(row: Row, column: str, over: str, batch: str) -> tuple[float, float, float] | None:
    """Return the quartiles and median of a column's latency over another's, round by round."""
    times = row["times"].get(batch, {})
    if column not in times or over not in times:
        return None
    values = [a / b for a, b in zip(times[column], times[over], strict=True)]
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def per_model(rows: Sequence[Row]) -> str:
    """Return a line per model and column; error in units of the model's own, times over BASE."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        if row.get("error"):
            lines.append((row["model"], *[""] * (len(HEAD) - 2), str(row["error"])[:100]))
            continue
        for column, measured in row["columns"].items():
            graph = measured["graph"]
            cells = [_counts(graph, part) for part in _PARTS] + [_size(graph)]
            cells[0] += f" of {row['norms']}" if graph else ""
            cells += [_figure(units(row, column)), _figure(seconds(row, column))]
            cells += [_spread(ratio(row, column, BASE, batch)) for batch in BATCHES]
            lines.append((row["model"], column, *cells, measured["failure"][:100]))
    return aligned(HEAD, lines)


_PARTS = ("norms", "arithmetic", "convolutions", "nodes")


def _counts(graph: dict[str, int] | None, part: str) -> str:
    return "" if graph is None else str(graph[part])


def _size(graph: dict[str, int] | None) -> str:
    return f"{graph['size'] / 1e6:.2f}" if graph and graph["size"] else ""


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _spread(quartiles: tuple[float, float, float] | None) -> str:
    if quartiles is None:
        return ""
    low, middle, high = quartiles
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def units(row: Row, column: str) -> float | None:
    """Return a column's error in units of the float32 model's own; None where there is none."""
    distance, own = row["columns"][column]["distance"], row["own distance"]
    return None if distance is None or not own else float(distance / own)


def seconds(row: Row, column: str) -> float | None:
    """Return the CPU time to make a column's file over that of BASE."""
    taken, base = (row["columns"].get(c, {}).get("processor_seconds") for c in (column, BASE))
    return (
        None if not taken or not base or row["columns"][column]["graph"] is None else taken / base
    )


def summary(rows: Sequence[Row]) -> str:
    """Return one line per column over all models, then what ours violates, and the worst."""
    good = [row for row in rows if not row.get("error")]
    lines = [sums(good, column) for column in COLUMNS]
    table = aligned(SUMS, [line for line in lines if line])
    note = (
        "norms, mul add, conv, nodes, MB: summed over the models whose file every column but\n"
        f"{' and '.join(FOR_SOME)} makes; error: median and worst, in units of the float32\n"
        f"model's own; time and latency: geometric means over {BASE}'s"
    )
    return "\n".join(
        [table, note, "", *_folds(good), *_violations(good), *_worst(good), *_dead(rows)]
    )


def _everywhere(good: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    return [row for row in good if all(row["columns"].get(c, {}).get("graph") for c in columns)]


def sums(good: Sequence[Row], column: str) -> tuple[str, ...]:
    """Return a column's cells over all models; none where it has no file."""
    mine = [row for row in good if row["columns"].get(column, {}).get("graph")]
    if not mine:
        return ()
    present = {c for row in good for c in row["columns"]} - {*FOR_SOME}
    common = _everywhere(good, sorted(present | {column}))
    totals: dict[str, int] = {
        part: sum(row["columns"][column]["graph"][part] for row in common)
        for part in (*_PARTS, "size")
    }
    errors = [error for row in mine if (error := units(row, column)) is not None]
    times = [time for row in mine if (time := seconds(row, column))]
    latencies = [
        [quartiles[1] for row in mine if (quartiles := ratio(row, column, BASE, batch))]
        for batch in BATCHES
    ]
    return (
        column,
        f"{len(mine)} of {len(good)}",
        *(str(totals[part]) for part in _PARTS),
        f"{totals['size'] / 1e6:.1f}",
        f"{statistics.median(errors):.2f}" if errors else "",
        f"{max(errors):.3g}" if errors else "",
        f"{geometric_mean(times):.2f}",
        *(f"{geometric_mean(values):.3f}" for values in latencies),
    )


def _folds(good: Sequence[Row]) -> list[str]:
    """Return how many norms of ours folded, by class."""
    folds: Counter[str] = Counter()
    for row in good:
        folds.update(row["columns"].get(OURS, {}).get("folds", {}))
    return [f"ours: {count} norms {kind}" for kind, count in folds.most_common()]


def _violations(good: Sequence[Row]) -> list[str]:
    """Return where ours has more nodes, more convolutions or more time than it may."""
    found: dict[str, list[str]] = {
        f"more nodes than {SLIM}": _more(good, "nodes", SLIM),
        f"more convolutions than {BY_CLASS}": _more(good, "convolutions", BY_CLASS),
        "not verified, or no file": [
            f"{row['model']} ({row['columns'][OURS]['failure'][:80]})"
            for row in good
            if row["columns"].get(OURS, {}).get("failure")
        ],
        "error above 1.5 times the model's own": [
            f"{row['model']} ({error:.2f})"
            for row in good
            if OURS in row["columns"] and (error := units(row, OURS)) and error > 1.5
        ],
    }
    for over in (SLIM, BY_CLASS):
        for batch in BATCHES:
            found[f"slower than {over}, batch {batch}"] = [
                f"{row['model']} ({_spread(quartiles)})"
                for row in good
                if (quartiles := ratio(row, OURS, over, batch))
                and quartiles[1] > NOISE
                and quartiles[0] > 1
            ]
    return [
        f"ours: {what}: {f'{len(who)}: ' + ', '.join(who) if who else 'none'}"
        for what, who in found.items()
    ]


def _more(good: Sequence[Row], part: str, over: str) -> list[str]:
    pairs = [
        (row["model"], *(row["columns"][column]["graph"][part] for column in (OURS, over)))
        for row in _everywhere(good, (OURS, over))
    ]
    return [f"{model} ({mine} for {theirs})" for model, mine, theirs in pairs if mine > theirs]


def _worst(good: Sequence[Row]) -> list[str]:
    """Return the five worst models of ours in each respect."""
    measures: dict[str, Any] = {
        "error": lambda row: units(row, OURS),
        "time": lambda row: seconds(row, OURS),
    }
    for batch in BATCHES:
        measures[f"latency over {SLIM}, batch {batch}"] = lambda row, batch=batch: (
            ratio(row, OURS, SLIM, batch) or (0, None)
        )[1]
    lines = []
    for what, measure in measures.items():
        values = [
            (value, row["model"])
            for row in good
            if OURS in row["columns"] and (value := measure(row)) is not None
        ]
        worst = sorted(values, reverse=True)[:5]
        lines.append(f"ours, worst {what}: {', '.join(f'{m} {v:.2f}' for v, m in worst)}")
    return lines


def _dead(rows: Sequence[Row]) -> list[str]:
    dead = [f"{row['model']} ({row['error'][:80]})" for row in rows if row.get("error")]
    return [f"not measured: {', '.join(dead)}"] if dead else []


def say(row: Row) -> str:
    """Return a row of the benchmark in a few words."""
    made = {column: m["graph"]["nodes"] for column, m in row["columns"].items() if m["graph"]}
    latency = ratio(row, OURS, SLIM, "1")
    told = f"; ours over {SLIM}: {_spread(latency)}" if latency else ""
    return f"nodes {', '.join(f'{nodes} {column}' for column, nodes in made.items())}{told}"

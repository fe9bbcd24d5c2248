"""The fast survey: fold every model in float64, and compare with what eager computes."""

import re
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase

from bnconvert.folding.folding import fold
from bnconvert.graphs.example import Example
from bnconvert.reporting.records import NormRow
from tests.architectures.answers import in_double, outputs, worst_error
from tests.architectures.zoo import BY_NAME
from tests.benchmarks.isolated import Row
from tests.benchmarks.text import aligned

#: What is counted in the folded graph, by the name of the operator.
COUNTED = {
    "batch_norm": "norms",
    "conv": "convolutions",
    "mul": "mul",
    "add": "add",
    "sub": "add",
    "div": "mul",
}


def survey_one(name: str) -> Row:
    """Fold one model and return its figures."""
    model, inputs = BY_NAME[name].make()
    model, example, why_single = in_double(model, Example.of(inputs))
    truth = outputs(model, example)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    start = time.perf_counter()
    folded = fold(model, example)
    seconds = time.perf_counter() - start
    rows = folded.report.norms
    standing = [row for row in rows if row.outcome not in ("folded", "uncalled")]
    return {
        "norms": len(rows),
        "missed": _missed(model, rows),
        "outcomes": dict(Counter(row.outcome for row in rows)),
        "folded": dict(Counter(kind_of(row) for row in rows if row.outcome == "folded")),
        "standing": dict(Counter(kind_of(row) for row in standing)),
        "half gone": sum(1 for row in standing if row.fold),
        "unexplained": [row.path for row in rows if not row.reason],
        "error": None,
        "distance": worst_error(outputs(folded.module, example), truth),
        "dtype": why_single or "float64",
        "touched": _touched(model, before),
        "operators": _operators(folded.module),
        "fold seconds": round(seconds, 2),
        "notes": list(folded.report.notes),
    }


def kind_of(row: NormRow) -> str:
    """Return the fold of a row; of a standing one the reason, without what is particular to it."""
    if row.outcome == "folded":
        return row.fold
    reason = re.sub(r"call \d+ of \d+: ", "", row.reason)
    reason = re.sub(r"[\w.]+ \((\w+)\)", r"\1", reason)
    reason = re.sub(r"\b\w+(\.\w+)+\b", "...", reason)
    reason = re.sub(r"(\b\w+\b)(, \1)+", r"\1", reason)
    reason = re.sub(r" and \d+ more|\b\d+\b", "", reason).strip()
    return f"half gone: {reason}" if row.fold else reason


def _missed(model: nn.Module, rows: Sequence[NormRow]) -> list[str]:
    """Return the paths of norms that no row is about."""
    told = {path for row in rows for path in (row.path, *row.aliases)}
    return [
        path
        for path, module in model.named_modules()
        if isinstance(module, _NormBase) and module.running_mean is not None and path not in told
    ]


def _touched(model: nn.Module, before: dict[str, Tensor]) -> bool:
    after = model.state_dict()
    return after.keys() != before.keys() or not all(
        torch.equal(after[key], value) for key, value in before.items()
    )


def _operators(module: nn.Module) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for graph in (part.graph for part in module.modules() if isinstance(part, fx.GraphModule)):
        for node in graph.nodes:
            if node.op != "call_function":
                continue
            counts["all"] += 1
            said = getattr(node.target, "__name__", str(node.target))
            for start, kind in COUNTED.items():
                if said.startswith(start):
                    counts[kind] += 1
                    break
    return dict(counts)


def say(row: Row) -> str:
    """Return the row in a few words."""
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in row["outcomes"].items())
    return f"{row['norms']} norms: {outcomes}; {row['distance']:.1e} off ({row['dtype']})"


def summary(rows: Sequence[Row]) -> str:
    """Return tables over all rows: per model, then sums by class and the faults."""
    good = [row for row in rows if not row.get("error")]
    lines = [_per_model(rows), ""]
    for part in ("folded", "standing"):
        sums: Counter[str] = Counter()
        models: Counter[str] = Counter()
        for row in good:
            sums.update(row[part])
            models.update(row[part].keys())
        cells = [(str(n), str(models[kind]), kind[:160]) for kind, n in sums.most_common()]
        lines += [aligned(("norms", "models", f"{part}, by class"), cells), ""]
    return "\n".join([*lines, *_totals(rows, good)])


def _per_model(rows: Sequence[Row]) -> str:
    columns = ("model", "norms", "folded", "standing", "uncalled", "conv", "mul", "add", "off", "s")
    cells = []
    for row in rows:
        if row.get("error"):
            cells.append((row["model"], *[""] * 8, str(row["error"])[:60]))
            continue
        outcomes, operators = row["outcomes"], row["operators"]
        counts = [outcomes.get(kind, 0) for kind in ("folded", "standing", "uncalled")]
        left = [operators.get(kind, 0) for kind in ("convolutions", "mul", "add")]
        figures = [f"{row['distance']:.0e}", f"{row['fold seconds']:.1f}"]
        cells.append((row["model"], *map(str, (row["norms"], *counts, *left)), *figures))
    return aligned(columns, cells)


def _totals(rows: Sequence[Row], good: Sequence[Row]) -> list[str]:
    norms = sum(row["norms"] for row in good)
    outcomes: Counter[str] = Counter()
    for row in good:
        outcomes.update(row["outcomes"])
    lines = [f"{len(good)} of {len(rows)} models folded, {norms} norms"]
    outcomes["standing, half gone"] = sum(row.get("half gone", 0) for row in good)
    lines += [f"  {kind}: {n} ({100 * n / norms:.1f} %)" for kind, n in outcomes.most_common()]
    wide = [row["distance"] for row in good if row["dtype"] == "float64"]
    if wide:
        lines.append(f"  worst distance in float64: {max(wide):.1e} over {len(wide)} models")
    faults: dict[str, list[Any]] = {
        "not folded": [f"{row['model']} ({row['error']})" for row in rows if row.get("error")],
        "wrong": [f"{r['model']} ({r['distance']:.1e})" for r in good if _is_wrong(r)],
        "norms missed": [row["model"] for row in good if row["missed"]],
        "reason missing": [row["model"] for row in good if row["unexplained"]],
        "model changed": [row["model"] for row in good if row["touched"]],
        "slow to fold": [
            f"{r['model']} ({r['fold seconds']:.0f} s)" for r in good if r["fold seconds"] > 30
        ],
    }
    return lines + [f"  {what}: {', '.join(who)}" for what, who in faults.items() if who]


def _is_wrong(row: Row) -> bool:
    return not row["distance"] <= (1e-9 if row["dtype"] == "float64" else 1e-3)

"""Measure which planted faults each way of checking an ONNX file finds, and its false alarms.

Run by hand: python -m tests.benchmarks.detection [--faults 1000] [--models plain,...]
    [--seeds 2] [--json detection.json] [--plot detection.png]
Faults of graded size are planted in files of thirty small models, one at a time. A fault is visible
where it changes a channel of an output by at least a tenth of its own size; only those count for
the curve "by planted size". Prints tables, writes JSON and a plot.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import onnx
import torch

from tests.benchmarks.detection_faults import SIZES, planted
from tests.benchmarks.detection_models import MODELS, built, correct_files
from tests.benchmarks.detection_rules import ACCEPTED, REJECTED, RULES, UNJUDGED, effect, judged
from tests.benchmarks.text import aligned

Row = dict[str, Any]
#: A fault is visible where the outputs change by at least this share of its size.
VISIBLE = 0.1
#: The places to plant in: a folded file, and one whose norms still stand.
_PLANTED_IN = ("ours", "torch.onnx, unoptimized")


_ALARMS = ("rule", "false alarms", "right, not judged", "wrong, not judged", "seconds a file")


def measured(name: str, seed: int, faults: int) -> Iterator[Row]:
    """Judge a model's correct files, and faulty versions of two of them; yield a row for each."""
    model, example = built(name, seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = dict(correct_files(name, model, example, folder))
        for way, path in files.items():
            yield {"model": name, "seed": seed, "fault": None, "file": way} | _judged(
                model, example, path
            )
        bases = [way for way in _PLANTED_IN if way in files] or list(files)[:1]
        for number, way in enumerate(bases):
            share = faults // len(bases) + (number < faults % len(bases))
            draw = Random(f"{name} {seed} {way}")
            for fault, size, node, broken in planted(onnx.load(files[way]), share, draw):
                path = folder / "faulty.onnx"
                onnx.save(broken, path)
                change = effect(files[way], path, model, example)
                row = {"model": name, "seed": seed, "fault": fault, "size": size, "node": node}
                yield row | {"file": way, "effect": change} | _judged(model, example, path)


def _judged(model: torch.nn.Module, example: Any, path: Path) -> Row:
    said, seconds = {}, {}
    for rule, judge in RULES.items():
        start = time.perf_counter()
        said[rule] = judged(judge, model, example, path)
        seconds[rule] = time.perf_counter() - start
    return {"said": said, "seconds": seconds}


def decade(value: float | None) -> str:
    """Return the power of ten at or below a size, as text; "structure" for none."""
    if value is None:
        return "structure"
    return next((f"{size:.0e}" for size in SIZES if value >= size * 0.999), "less")


def shares(rows: Sequence[Row], key: str) -> dict[str, dict[str, tuple[int, int]]]:
    """Return, by decade of a figure and rule, how many faults were caught, of how many."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for row in rows:
        for rule, said in row["said"].items():
            cell = found[decade(row[key])][rule]
            cell[0] += said != ACCEPTED
            cell[1] += 1
    order = ["structure", *(f"{size:.0e}" for size in SIZES), "less"]
    return {
        place: {rule: (cell[0], cell[1]) for rule, cell in found[place].items()}
        for place in order
        if place in found
    }


def shown(title: str, found: dict[str, dict[str, tuple[int, int]]]) -> str:
    """Return a table of shares."""
    body = [
        [place, str(next(iter(cells.values()))[1])]
        + [f"{100 * cells[rule][0] / cells[rule][1]:.0f} %" for rule in RULES]
        for place, cells in found.items()
    ]
    return aligned((title, "faults", *RULES), body)


def _said(rows: Sequence[Row], rule: str, what: str) -> int:
    return sum(row["said"][rule] == what for row in rows)


def is_visible(row: Row) -> bool:
    """Tell whether a fault shows at the outputs about as large as it is."""
    return bool(row["effect"] >= VISIBLE * (row["size"] or 1e-2))


def summary(rows: Sequence[Row]) -> str:
    """Return all tables, and the visible faults of 1e-3 and more that we let pass."""
    right = [row for row in rows if row["fault"] is None]
    wrong = [row for row in rows if row["fault"] is not None]
    alarms = [
        [
            rule,
            f"{_said(right, rule, REJECTED)} of {len(right)}",
            str(_said(right, rule, UNJUDGED)),
            str(_said(wrong, rule, UNJUDGED)),
            f"{sum(row['seconds'][rule] for row in rows) / len(rows):.3f}",
        ]
        for rule in RULES
    ]
    missed = [
        f"{r['model']} {r['file']}: {r['fault']} {r['size']} at {r['node']}, {r['effect']:.1e}"
        for r in wrong
        if r["said"]["bnconvert"] == ACCEPTED and r["effect"] >= 1e-3
    ]
    flagged = [
        f"{r['model']} {r['seed']} {r['file']}: {r['said']['bnconvert']}"
        for r in right
        if r["said"]["bnconvert"] != ACCEPTED
    ]
    visible = [row for row in wrong if is_visible(row)]
    return "\n\n".join(
        (
            shown("planted, visible", shares(visible, "size")),
            shown("planted, all", shares(wrong, "size")),
            shown("change of outputs", shares(wrong, "effect")),
            aligned(_ALARMS, alarms),
            "passed by us though outputs change by 1e-3 or more:\n" + "\n".join(missed),
            "correct files that we flag:\n" + "\n".join(flagged),
        )
    )


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw the share caught by how much the outputs change."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    wrong = [row for row in rows if row["fault"] is not None]
    figure, axes = pyplot.subplots(figsize=(7, 4.8), layout="constrained")
    found = shares(wrong, "effect")
    places = [f"{size:.0e}" for size in reversed(SIZES) if f"{size:.0e}" in found]
    right = [row for row in rows if row["fault"] is None]
    for rule in RULES:
        heights = [100 * found[p][rule][0] / found[p][rule][1] for p in places]
        alarms = _said(right, rule, REJECTED)
        unjudged = _said(right, rule, UNJUDGED)
        neither = f", {unjudged} not judged" if unjudged else ""
        label = f"{rule}: {alarms} of {len(right)} correct files refused{neither}"
        axes.plot(places, heights, marker="o", linewidth=2.5 if rule == "bnconvert" else 1.2,
                  label=label)  # fmt: skip
    axes.set(
        xlabel="relative change of an output's channel, at least",
        ylabel="faults caught, %",
        ylim=(-3, 103),
        title=f"{len(wrong)} faults planted in files of {len({r['model'] for r in wrong})} models",
    )
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--seeds", type=int, default=2, help="how often each model is drawn")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--again", type=Path, help="show and draw the rows of an earlier run")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    each = -(-given.faults // (len(given.models) * given.seeds))
    if given.again:
        rows = json.loads(given.again.read_text())
    for name in given.models if not rows else ():
        for seed in range(given.seeds):
            rows += measured(name, seed, each)
            print(f"{name} {seed}: {len(rows)} files", flush=True)
            if given.json:
                given.json.write_text(json.dumps(rows))
    print(summary(rows))
    if given.plot:
        plot(rows, given.plot)


if __name__ == "__main__":
    main()

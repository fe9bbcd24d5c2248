"""Ask every property of thousands of random networks; run by hand.

python -m tests.benchmarks.random_models --count 10000 --rows FILE.jsonl [--start 0] [--resume]
    [--jobs 1] [--properties fold,convert,statistics,export] [--trait loops] [--table]

A row a network: its seed, its kind, and what came of each property. A wrong one is asked again by
`--start SEED --count 1`. `--trait` asks only those of the networks that have it. `--table` only
prints what a file holds.
"""

import argparse
import json
import multiprocessing
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from tests.random_networks.interfaces import Drawn
from tests.random_networks.properties import PROPERTIES
from tests.random_networks.verdicts import verdict_of


def row_of(task: tuple[int, tuple[str, ...]]) -> dict[str, Any]:
    """Ask the properties of one network."""
    seed, names = task
    drawn, begun = Drawn.of(seed), time.perf_counter()
    row: dict[str, Any] = {"seed": seed, "kind": str(drawn.traits)}
    for name in names:
        verdict = verdict_of(lambda name=name: PROPERTIES[name](drawn))  # type: ignore[misc]
        row[name] = {"verdict": verdict.kind, "reason": verdict.reason}
    return row | {"seconds": round(time.perf_counter() - begun, 2)}


def _rows(path: Path) -> list[dict[str, Any]]:
    """Read what a file holds; a last line that was cut short is left out."""
    lines = path.read_text().splitlines() if path.exists() else []
    whole = [line for line in lines if line.endswith("}")]
    return [json.loads(line) for line in whole]


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return counts by property and verdict, then every wrong one, then reasons by their count."""
    counts: Counter[tuple[str, str]] = Counter()
    reasons: Counter[tuple[str, str, str]] = Counter()
    wrong, total = [], 0
    for row in rows:
        total += 1
        for name in PROPERTIES.keys() & row.keys():
            verdict, reason = row[name]["verdict"], row[name]["reason"]
            counts[name, verdict] += 1
            if verdict == "WRONG":
                wrong.append(f"{row['seed']} ({row['kind']}) {name}: {reason}")
            elif verdict != "ok":
                reasons[name, verdict, reason[:150]] += 1
    lines = [f"{total} networks"]
    lines += [f"{name:12} {verdict:18} {n:6}" for (name, verdict), n in sorted(counts.items())]
    lines += ["", *wrong, ""]
    lines += [
        f"{n:6} {name}: {verdict}: {why}" for (name, verdict, why), n in reasons.most_common()
    ]
    return "\n".join(lines)


def main() -> None:
    """Ask, write rows as they come, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--rows", type=Path, default=Path("random_models.jsonl"))
    parser.add_argument("--resume", action="store_true", help="leave out the seeds in the file")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--properties", default=",".join(PROPERTIES))
    parser.add_argument("--trait", help="such as loops, extreme or hooks")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if not given.table:
        _ask(given)
    print(table(_rows(given.rows)))


def _ask(given: argparse.Namespace) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    done = {row["seed"] for row in _rows(given.rows)} if given.resume else set()
    names = tuple(given.properties.split(","))
    seeds = range(given.start, given.start + given.count)
    tasks = [(seed, names) for seed in seeds if seed not in done and _has(seed, given.trait)]
    context = multiprocessing.get_context("spawn")
    with given.rows.open("a" if given.resume else "w") as file:
        if given.jobs == 1:
            results: Iterable[dict[str, Any]] = map(row_of, tasks)
            _write(file, results)
        else:
            with context.Pool(given.jobs, maxtasksperchild=50) as pool:
                _write(file, pool.imap_unordered(row_of, tasks))


def _has(seed: int, trait: str | None) -> bool:
    return trait is None or bool(getattr(Drawn.of(seed).traits, trait))


def _write(file: Any, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        file.write(json.dumps(row) + "\n")
        file.flush()


if __name__ == "__main__":
    main()

"""Measure how many wrong programs the tests let pass: a mutation score, by package.

Run by hand: python -m tests.benchmarks.mutants [--count 60] [--packages numerics,norms]
    [--seed 0] [--json mutants.jsonl] [--resume] [--again] [--processor-seconds 40]
A seeded sample of small wrong edits (`mutations`), one at a time, in a scratch copy of the tree.
The file's own tests run first (tests/x/test_y.py for bnconvert/x/y.py); an edit that they let pass
meets the tests of the files that import it and those of its package as a whole. Both stop at the
first failure; the further tests also after so many seconds of the processor (none: only the own
ones are run), and what they did not notice by then has survived. `--again` runs only what survived
in the given file, after tests were added. Right programs must pass, or all edits count as seen.

Written by hand: mutmut 3 turns every function into a switch over its mutants, which torch.fx and
torch.export would then capture; cosmic-ray starts a new Python for every edit, and importing torch
and onnx takes longer than most of the tests. Here a process that has imported them forks.
"""

import argparse
import ast
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from tests.benchmarks.mutant_runs import TREE, Scratch, preload
from tests.benchmarks.mutations import Mutation, mutations
from tests.benchmarks.text import aligned

Row = dict[str, Any]
#: What else says something about a whole package.
PACKAGES = {
    "numerics": (),
    "folding/folds": (
        "tests/folding/test_folding.py",
        "tests/folding/test_fixpoint.py",
        "tests/folding/test_bounded_searches.py",
    ),
    "folding/operators": (
        "tests/folding/test_folding.py",
        "tests/folding/test_fixpoint.py",
        "tests/folding/test_bounded_searches.py",
    ),
    "verification": (
        "tests/exporting/test_export.py",
        "tests/verification/test_compared_outputs.py",
        "tests/verification/rounding/test_near_ties.py",
    ),
    "norms": (
        "tests/test_contract.py",
        "tests/test_every_norm.py",
        "tests/norms/test_domains_by_call.py",
        "tests/norms/test_mixed_batches.py",
    ),
}
#: Seconds of the processor after which a file's own tests have noticed that something is wrong.
_OWN_SECONDS = 120


def sampled(package: str, count: int, seed: int) -> list[tuple[str, Mutation]]:
    """Return files with an edit of each, drawn from all edits of a package."""
    files = sorted((TREE / "bnconvert" / package).rglob("*.py"))
    every = [
        (str(file.relative_to(TREE)), each) for file in files for each in mutations(_text(file))
    ]
    Random(f"{package} {seed}").shuffle(every)  # a larger sample begins with the smaller one
    return every[:count]


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def own_tests(file: str) -> list[str]:
    """Return the tests that mirror a file of the package."""
    path = Path(file)
    test = Path("tests", *path.parts[1:-1], f"test_{path.name}")
    return [str(test)] if (TREE / test).exists() else []


def further_tests(file: str, package: str) -> list[str]:
    """Return the tests of the files that import a file, and those of the package."""
    module = file.removesuffix(".py").replace("/", ".")
    importers = [
        str(each.relative_to(TREE))
        for each in sorted((TREE / "bnconvert").rglob("*.py"))
        if module in _imported(each)
    ]
    tests = [test for importer in importers for test in own_tests(importer)]
    return [
        test for test in dict.fromkeys((*tests, *PACKAGES[package])) if test not in own_tests(file)
    ]


def _imported(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(_text(file))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def judged(scratch: Scratch, package: str, file: str, mutation: Mutation, seconds: int) -> Row:
    """Run the tests on one edit; `by` says what killed it, `tier` which tests did."""
    row = {"package": package, "file": file} | asdict(mutation)
    start = time.monotonic()
    with scratch.wrong(file, mutation):
        further = further_tests(file, package) if seconds else []
        for tier, tests in enumerate((own_tests(file), further), start=1):
            said = scratch.run(tests, seconds if tier == 2 else _OWN_SECONDS) if tests else "passed"
            # Further tests that take longer than they may have not noticed anything.
            if said != "passed" and not (tier == 2 and said in ("time", "signal 24")):
                return row | {"tier": tier, "by": said, "seconds": time.monotonic() - start}
    return row | {"tier": None, "by": said, "seconds": time.monotonic() - start}


def table(rows: Sequence[Row]) -> str:
    """Return the counts of every package as text."""
    counts: dict[str, Counter[int | None]] = {}
    for row in rows:
        counts.setdefault(row["package"], Counter())[row["tier"]] += 1
    cells = [
        [
            name,
            *(str(number) for number in (c.total(), c[1], c[2], c[None])),
            f"{100 * (1 - c[None] / c.total()):.0f} %",
        ]
        for name, c in counts.items()
    ]
    columns = ("package", "edits", "killed by its own tests", "by others", "survived", "score")
    return aligned(columns, cells)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--packages", default=",".join(PACKAGES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--processor-seconds", type=int, default=40)
    return parser.parse_args()


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in _text(path).splitlines()] if path.exists() else []


def _tasks(given: argparse.Namespace, rows: Sequence[Row]) -> list[tuple[str, str, Mutation]]:
    if given.again:
        fields = Mutation.__dataclass_fields__
        left = [row for row in rows if row["tier"] is None]
        return [(r["package"], r["file"], Mutation(**{k: r[k] for k in fields})) for r in left]
    done = {(row["file"], *_place(row)) for row in rows}
    samples = {name: sampled(name, given.count, given.seed) for name in given.packages.split(",")}
    return [  # of all packages alike, so that a run that is cut short says something of each
        (package, *sample[number])
        for number in range(given.count)
        for package, sample in samples.items()
        if number < len(sample)
        and (sample[number][0], *_place(asdict(sample[number][1]))) not in done
    ]


def _place(edit: Row) -> tuple[int, int, str]:
    return edit["start"], edit["end"], edit["new"]


def main() -> None:
    """Run the tests on a sample of wrong programs, and print how many they noticed."""
    given = _arguments()
    rows = _read(given.json) if given.resume or given.again else []
    tasks = _tasks(given, rows)
    if given.again:
        rows = [row for row in rows if row["tier"] is not None]
        given.json = given.json.with_suffix(".again.jsonl")
    given.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    preload()
    with tempfile.TemporaryDirectory() as folder, given.json.open("a", encoding="utf-8") as out:
        scratch = Scratch(Path(folder))
        for task in tasks:
            row = judged(scratch, *task, given.processor_seconds)
            rows.append(row)
            print(json.dumps(row), file=out, flush=True)
    for row in rows:
        if row["tier"] is None:
            print(f"{row['file']}:{row['line']}: {row['old']!r} became {row['new']!r}")
    print(table(rows))


if __name__ == "__main__":
    main()

"""Fold, prove and export the zoo's models, and compare with what others make of them.

Run by hand, first the survey, which only folds (a few seconds a model):

    python -m tests.benchmarks.zoo --survey --real --jobs 2 --rows survey.jsonl --resume

then the proofs, which export and verify (about half a minute a model):

    python -m tests.benchmarks.zoo --proofs --real --jobs 2 --rows proofs.jsonl --resume

then the comparison, of files and their speed (about two minutes a model, on a quiet machine; the
other tools: `pip install timmx onnxsim onnxoptimizer openvino`; what is not there is left out):

    python -m tests.benchmarks.zoo --real --more --rows zoo.jsonl --resume --json zoo.json

and the tables of docs/benchmark.md from its rows: `python -m tests.benchmarks.zoo_page zoo.jsonl`.

One thread; every model in a process of its own; one row a line goes to `--rows`, so that a run
can be resumed. Latency is CPU time, all columns interleaved in random order, as a ratio within
each round to the file that torch.onnx makes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.architectures.architecture import Architecture
from tests.architectures.zoo import ALL, GROUPS, MORE, REAL, chosen
from tests.benchmarks import conditions, zoo_measure, zoo_proofs, zoo_survey, zoo_tables
from tests.benchmarks.isolated import Rows, collect
from tests.benchmarks.rivals import COLUMNS, PACKAGES


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--models", help="names, with or without the group, by commas")
    which.add_argument("--group", choices=GROUPS, action="append")
    which.add_argument("--real", action="store_true", help="the 154 real models that tests sweep")
    which.add_argument("--all", action="store_true", help="traps and variants too")
    parser.add_argument(
        "--more", action="store_true", help="first, 40 families more and trained models"
    )
    parser.add_argument("--survey", action="store_true", help="fold only, and compare in float64")
    parser.add_argument("--proofs", action="store_true", help="export only, and count verdicts")
    parser.add_argument(
        "--columns", type=lambda text: text.split(","), default=list(COLUMNS), help="by commas"
    )
    parser.add_argument("--rounds", type=int, default=30, help="of timing")
    parser.add_argument("--json", type=Path, help="where to write all rows at the end")
    parser.add_argument("--rows", type=Path, default=Path("zoo.jsonl"), help="one row a line")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    parser.add_argument("--jobs", type=int, default=1, help="processes; 1 where time is measured")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one model")
    return parser.parse_args()


def models(given: argparse.Namespace) -> Sequence[Architecture]:
    """Return the models that were asked for.

    Raises:
        SystemExit: none was.
    """
    found = [*MORE] if given.more else []
    if given.models:
        found += chosen(given.models.split(","))
    elif given.group:
        found += [architecture for architecture in ALL if architecture.group in given.group]
    elif given.real or given.all:
        found += REAL if given.real else ALL
    if not found:
        raise SystemExit("no models: --models, --group, --real, --all or --more names some")
    return found


def main() -> None:
    given = options()
    names = [architecture.full_name for architecture in models(given)]
    rows = Rows(given.rows, resume=given.resume)
    gather = partial(collect, rows=rows, jobs=given.jobs, timeout=given.timeout)
    if given.survey:
        found = gather(zoo_survey.survey_one, names, (), say=zoo_survey.say)
    elif given.proofs:
        found = gather(zoo_proofs.prove_one, names, (), say=zoo_proofs.say)
    else:
        columns, missing = conditions.without_missing(given.columns, PACKAGES)
        print(conditions.described([*PACKAGES.values()]), *missing, sep="\n", file=sys.stderr)
        arguments = (columns, given.rounds)
        found = gather(zoo_measure.measure_one, names, arguments, say=zoo_tables.say)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    if given.survey:
        print(zoo_survey.summary(found))
    elif given.proofs:
        print(zoo_proofs.summary(found))
    else:
        print(zoo_tables.per_model(found), zoo_tables.summary(found), sep="\n\n")


if __name__ == "__main__":
    main()

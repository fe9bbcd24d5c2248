"""Compare a model with an ONNX file: the float64 budget, and rows that do not depend on a batch.

A fixed tolerance is wrong both ways: it flags correct files of ill-conditioned networks and
passes wrong ones of well-conditioned networks. The judge is the model itself in float64:

    err(ONNX Runtime vs float64) <= FACTOR * err(torch, its own dtype, vs float64) + tiny

with errors relative to the size of the output.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.examples import Example
from bnconvert.kinds import norms_in
from bnconvert.normalization import Normalization
from bnconvert.numerics.distance import MEASURES, difference, relative_error
from bnconvert.onnx_file import OnnxRunner
from bnconvert.reference import Answers, Budget, Reference
from bnconvert.reporting.records import Check
from bnconvert.reporting.report import Report

SEED = 0


@dataclass(frozen=True, eq=False)
class Case:
    """One input to compare on.

    Attributes:
        name: for the report: where it comes from and its batch size.
        example: the input.
    """

    name: str
    example: Example


def prove(model: nn.Module, example: Example, path: Path) -> Report:
    """Run every comparison of a model with an ONNX file; report the figures, good or bad.

    Args:
        model: an eager module; compared in eval mode.
        example: real inputs.
        path: the file.

    Raises:
        ExportError: ONNX Runtime cannot run the file.
    """
    with torch.random.fork_rng(devices=[]):  # a forward may draw numbers
        return _prove(model, example, path)


def _prove(model: nn.Module, example: Example, path: Path) -> Report:
    generator = torch.Generator().manual_seed(SEED)
    runner = OnnxRunner(path)
    reference = Reference.of(model, example)
    tried = [
        (case, reference.answers(case.example))
        for case in cases(example, generator, dynamic=runner.has_dynamic_batch)
    ]
    budget = Budget.of([answers for _, answers in tried])
    checks = [c for case, answers in tried for c in check_budget(runner, case, answers, budget)]
    widest = max((case for case, _ in tried), key=lambda case: case.example.batch or 0)
    rows: list[Check] = []
    mixing = mixing_norms(model)
    if mixing:
        pass  # what a row check measures is what these norms are for
    elif runner.has_dynamic_batch or reference.accepts(widest.example.rows([0])):
        rows = check_rows(runner, widest, budget, generator)
    notes = [reference.note] if reference.note else []
    if mixing:
        notes.append(
            "batch-composition invariance is deliberately off: norms that adapt to the test batch "
            f"({', '.join(mixing)}), and the file computes the mixture; for a fixed function "
            "recompute the statistics on target data and revert the model"
        )
    elif not rows:
        notes.append("no row was compared in other company: there is only one, or none comes out")
    if budget.noise:
        notes.append(
            "the model itself is ill-conditioned: its own rounding error is "
            f"{budget.noise:.1e} of its output, so that agreement proves little"
        )
    passed = all(check.passed for check in (*checks, *rows))
    title = f"{path.name} {'agrees with' if passed else 'DIFFERS from'} {type(model).__name__}"
    return Report(title, checks=(*checks, *rows), notes=tuple(notes))


def mixing_norms(model: nn.Module) -> list[str]:
    """Return the paths of norms that are meant to mix the samples of a batch in eval mode."""
    return [
        path or "(root)"
        for path, norm, _ in norms_in(model)
        if isinstance(norm, Normalization) and norm.mixes_samples_in_eval
    ]


def cases(example: Example, generator: torch.Generator, *, dynamic: bool) -> Iterator[Case]:
    """Give the inputs to compare on: those given, and generated ones like them.

    With a dynamic batch size, both at batch sizes 1, 2 and one larger, of the given rows.
    """
    yield Case(f"given inputs, batch {example.batch}", example)
    if not dynamic or not example.batch:
        yield Case(f"generated, batch {example.batch}", example.like(generator))
        return
    for size in (1, 2, max(5, example.batch + 3)):
        rows = example.rows([i % example.batch for i in range(size)])
        if size != example.batch:
            yield Case(f"given rows, batch {size}", rows)
        yield Case(f"generated, batch {size}", rows.like(generator))


def check_budget(runner: OnnxRunner, case: Case, answers: Answers, budget: Budget) -> list[Check]:
    """Compare every output on one input with the float64 budget."""
    measured = _run(runner, case.example)
    checks: list[Check] = []
    if len(measured) != len(answers.true):
        detail = f"{len(measured)} outputs for {len(answers.true)}"
        return [Check(case.name, "all outputs", "norm", math.inf, 0.0, False, detail)]
    for index, (name, mine) in enumerate(zip(runner.output_names, measured, strict=True)):
        detail = difference(mine, answers.native[index])
        for measure in MEASURES:
            error = relative_error(mine, answers.true[index], measure)
            allowed = budget.allowed(index, measure)
            passed = not detail and error <= allowed
            checks.append(Check(case.name, name, measure, error, allowed, passed, detail))
    return checks


def check_rows(
    runner: OnnxRunner, case: Case, budget: Budget, generator: torch.Generator
) -> list[Check]:
    """Compare the first and last row of a batch with the same rows in other company.

    With a dynamic batch size the row is run alone; else the other rows are replaced. A norm
    that uses the batch's own statistics fails, however well the file agrees with the model.
    """
    example, size = case.example, case.example.batch or 0
    together = _run(runner, example)
    checks: list[Check] = []
    for row in sorted({0, size - 1}) if size > 1 else ():
        if runner.has_dynamic_batch:
            place, other = 0, example.rows([row])
        else:
            place, other = row, example.with_other_rows(row, generator)
        apart = _run(runner, other)
        for index, (whole, single) in enumerate(zip(together, apart, strict=True)):
            if whole.dim() == 0 or whole.shape[0] != size or (index, "peak") not in budget.own:
                continue  # no row of this output belongs to a row of the input
            error = relative_error(single[place], whole[row], "peak")
            allowed = budget.allowed(index, "peak")
            label, name = f"row {row} of {case.name}", runner.output_names[index]
            checks.append(Check(label, name, "rows", error, allowed, error <= allowed))
    return checks


def _run(runner: OnnxRunner, example: Example) -> list[Tensor]:
    leaves = pytree.tree_leaves(example.args)
    return runner.run([leaf for leaf in leaves if isinstance(leaf, Tensor)], _named(example))


def _named(example: Example) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for key, value in example.kwargs.items():
        leaves = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
        named |= {key if len(leaves) == 1 else f"{key}_{i}": leaf for i, leaf in enumerate(leaves)}
    return named

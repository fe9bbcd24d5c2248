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
from bnconvert.numerics.distance import Measure, difference, relative_error, rounding_floor
from bnconvert.onnx_file import OnnxRunner
from bnconvert.reference import Reference
from bnconvert.reporting.records import Check
from bnconvert.reporting.report import Report

#: How many times the model's own rounding error a file may have. Kernels sum in other orders.
FACTOR = 4.0
MEASURES: tuple[Measure, ...] = ("norm", "peak")
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
    tried = list(cases(example, generator, dynamic=runner.has_dynamic_batch))
    checks = [check for case in tried for check in check_budget(reference, runner, case)]
    widest = max(tried, key=lambda case: case.example.batch or 0)
    rows = check_rows(reference, runner, widest, generator)
    notes = [reference.note] if reference.note else []
    if not rows:
        notes.append("no row was compared in other company: there is only one, or none comes out")
    if noise := reference.noise(example):
        notes.append(
            f"the model itself is ill-conditioned: its own rounding error is {noise:.1e} of its "
            "output, so that agreement within the budget proves little"
        )
    passed = all(check.passed for check in (*checks, *rows))
    title = f"{path.name} {'agrees with' if passed else 'DIFFERS from'} {type(model).__name__}"
    return Report(title, checks=(*checks, *rows), notes=tuple(notes))


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


def check_budget(reference: Reference, runner: OnnxRunner, case: Case) -> list[Check]:
    """Compare every output on one input with the float64 budget."""
    true, native = reference.answers(case.example)
    measured = _run(runner, case.example)
    checks: list[Check] = []
    if len(measured) != len(true):
        detail = f"{len(measured)} outputs for {len(true)}"
        return [Check(case.name, "all outputs", "norm", math.inf, 0.0, False, detail)]
    for name, mine, rounded, truth in zip(runner.output_names, measured, native, true, strict=True):
        for measure in MEASURES:
            allowed = FACTOR * relative_error(rounded, truth, measure) + rounding_floor(
                rounded.dtype, measure
            )
            error, detail = relative_error(mine, truth, measure), difference(mine, rounded)
            passed = not detail and error <= allowed
            checks.append(Check(case.name, name, measure, error, allowed, passed, detail))
    return checks


def check_rows(
    reference: Reference, runner: OnnxRunner, case: Case, generator: torch.Generator
) -> list[Check]:
    """Compare the first and last row of a batch with the same rows in other company.

    With a dynamic batch size the row is run alone; else the other rows are replaced. A norm
    that uses the batch's own statistics fails, however well the file agrees with the model.
    """
    example, size = case.example, case.example.batch or 0
    if not (runner.has_dynamic_batch or reference.accepts(example.rows([0]))):
        return []  # its first axis may be no batch at all
    true, native = reference.answers(example)
    together = _run(runner, example)
    if len(together) != len(true):
        return []  # the budget has failed already
    checks: list[Check] = []
    for row in sorted({0, size - 1}) if size > 1 else ():
        if runner.has_dynamic_batch:
            place, other = 0, example.rows([row])
        else:
            place, other = row, example.with_other_rows(row, generator)
        apart = _run(runner, other)
        for name, whole, single, rounded, truth in zip(
            runner.output_names, together, apart, native, true, strict=True
        ):
            if whole.dim() == 0 or whole.shape[0] != size:
                continue  # no row of this output belongs to a row of the input
            error = relative_error(single[place], whole[row], "peak")
            allowed = FACTOR * relative_error(rounded, truth, "peak") + rounding_floor(
                rounded.dtype, "peak"
            )
            label = f"row {row} of {case.name}"
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

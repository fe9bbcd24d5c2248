"""Localize where an ONNX file diverges from another one: the first operator whose value is wrong.

Values are matched by their numbers: a file that was folded or optimized keeps names whose meaning
has changed. A value is right if the reference holds it too, or if everything computed from it is
right. The file diverges at the first operator with right inputs that is not.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bnconvert.errors import first_line
from bnconvert.graphs.example import NamedTensor
from bnconvert.numerics.distance import MEASURES, relative_error, relative_errors, rounding_errors
from bnconvert.reporting.records import Finding
from bnconvert.verification.expected_values import LOCAL, ROUNDING, Wanted
from bnconvert.verification.finding_ids import DIVERGENCE
from bnconvert.verification.lowered_precision import Precision
from bnconvert.verification.onnx_graph import OnnxGraph, Operator, graph_of
from bnconvert.verification.onnx_outputs import BOUNDED
from bnconvert.verification.parts import wrong_part
from bnconvert.verification.value_matching import FileValues

_FIX = "check the operator's weights, attributes and inputs, and the tool that wrote them"


def find_file_divergence(
    reference: tuple[Path, Path],
    candidate: Path,
    inputs: Iterable[Sequence[NamedTensor]],
    precision: Precision | None = None,
) -> Finding | None:
    """Find the first operator of a file that computes something else than another file.

    Args:
        reference: the file that is right, and the same with its weights moved by rounding.
        candidate: the file.
        inputs: on which they differ; the first counts on which an operator is found.
        precision: what either file computes in, where that is lower than float32.

    Returns:
        The finding: the operator, or why none could be looked for; None where none is wrong by
        itself.
    """
    failures: list[Exception] = []
    for tensors in inputs:
        try:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                right, moved = (graph_of(path, tensors, folder) for path in reference)
                wanted = _wanted(tensors, right, moved, precision)
                if found := _find(wanted, graph_of(candidate, tensors, folder)):
                    return found
        except Exception as failure:
            failures.append(failure)
    if not failures:
        return None
    why = f"where the files diverge could not be found ({first_line(failures[0])})"
    return Finding(DIVERGENCE, "error", ("(root)",), why, _FIX)


def _wanted(
    tensors: Sequence[NamedTensor],
    reference: OnnxGraph,
    moved: OnnxGraph,
    precision: Precision | None,
) -> dict[str, Wanted]:
    """Return the values to look for: the inputs, which a file may cast, and all others."""
    dtype = (precision.dtype if precision else None) or torch.float32
    makers = {name: operator for operator in reference.operators for name in operator.outputs}
    wanted: dict[str, Wanted] = {n: _Value.of(t, t, None, dtype) for n, t in tensors if n}
    for name, value in reference.values.items():
        other = moved.values.get(name, value)
        wanted[name] = _Value.of(value, other, makers.get(name), dtype)
    return wanted


def _find(wanted: Mapping[str, Wanted], candidate: OnnxGraph) -> Finding | None:
    values = FileValues(candidate.values)
    held = {name for value in wanted.values() for name in values.holders(value)}
    right = _right(candidate, held)
    producers = {name: operator for operator in candidate.operators for name in operator.outputs}
    for operator in candidate.operators:
        before = [producers[name] for name in operator.inputs if name in producers]
        if operator not in right and all(producer in right for producer in before):
            return _finding(operator, candidate, wanted)
    return None


@dataclass(frozen=True, eq=False)
class _Value(Wanted):
    """A value of the reference, of which each part counts by its own size.

    Attributes:
        runs: the same, rounded otherwise.
        bounded: whether a function bounded by 1 computes it.
    """

    runs: Sequence[Tensor]
    bounded: bool

    @classmethod
    def of(
        cls,
        value: Tensor,
        moved: Tensor,
        producer: Operator | None,
        lowest: torch.dtype,
    ) -> "_Value":
        """Measure how far a right file may be from it, which may compute in a lower dtype."""
        exact = value.double() if value.is_floating_point() else value
        errors = relative_errors(moved, exact)
        dtype = value.dtype
        if dtype.is_floating_point:
            dtype = max(dtype, lowest, key=lambda known: torch.finfo(known).eps)
        unit = rounding_errors(exact, dtype, bounded=True)
        allowed = {m: LOCAL * errors[m] + ROUNDING * unit[m] for m in MEASURES}
        return cls(exact, allowed, (moved,), producer is not None and producer.kind in BOUNDED)

    def error_of(self, value: Tensor) -> float | None:
        """Return the relative error of a value that is the same, its parts too."""
        error = super().error_of(value)
        if error is None:
            return None
        wrong = wrong_part(
            value,
            self.exact,
            self.runs,
            (),
            factor=LOCAL,
            whole=self.allowed["norm"],
            bounded=self.bounded,
            roundings=ROUNDING,
        )
        return None if wrong else error


def _right(graph: OnnxGraph, held: set[str]) -> set[Operator]:
    """Return the operators whose value is held, or from which only right ones are computed."""
    right: set[Operator] = set()
    consumers = graph.consumers()
    for operator in reversed(graph.operators):
        readers = [reader for name in operator.outputs for reader in consumers.get(name, ())]
        absorbed = bool(readers) and all(reader in right for reader in readers)
        if absorbed or held.issuperset(operator.outputs):
            right.add(operator)
    return right


def _finding(operator: Operator, graph: OnnxGraph, wanted: Mapping[str, Wanted]) -> Finding:
    """Describe a divergence; its size is known where the reference has a value of that name."""
    name = operator.outputs[0]
    value, expected = graph.values.get(name), wanted.get(name)
    if value is None:
        wrong = f"its value {name} cannot be computed"
    elif expected is None or expected.exact.shape != value.shape:
        alike = [other for other, w in wanted.items() if w.exact.shape == value.shape]
        near = min(alike, key=lambda n: relative_error(value, wanted[n].exact, "norm"), default="")
        wrong = f"its value {name}, of shape {tuple(value.shape)}, is not in the reference"
        if near:
            error = relative_error(value, wanted[near].exact, "norm")
            wrong += f"; {near} is nearest, and off by {error:.1e}"
    else:
        error = relative_error(value, expected.exact, "norm")
        wrong = f"its value {name} is off by {error:.1e}, {expected.allowed['norm']:.1e} allowed"
    return Finding(
        DIVERGENCE,
        "error",
        ("(root)",),
        f"{operator} is the first operator that diverges from the reference: {wrong}",
        _FIX,
    )

"""The values inside a reference file, and how far from each a right file's may be.

A value that is given to a copy of the file is computed from given ones alone: its error is local,
what the operators since the given ones add and not what the network amplifies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bnconvert.graphs.example import NamedTensor
from bnconvert.numerics.distance import MEASURES, relative_errors, rounding_errors
from bnconvert.verification.files.onnx_given_values import given_name, with_given_values
from bnconvert.verification.files.onnx_graph import OnnxGraph, Operator, graph_of
from bnconvert.verification.files.onnx_outputs import BOUNDED
from bnconvert.verification.parts import wrong_part
from bnconvert.verification.references.reference import SEED
from bnconvert.verification.rounding.lowered_precision import Precision
from bnconvert.verification.rounding.perturbation import moved
from bnconvert.verification.values.expected_values import LOCAL, ROUNDING, Wanted

_RUNS = 4  # in which given values are rounded otherwise


@dataclass(frozen=True, eq=False)
class ReferenceValue(Wanted):
    """A value of the reference, of which each part counts by its own size.

    Attributes:
        dtype: the reference's own.
        runs: the value, rounded otherwise.
        bounded: whether a function bounded by 1 computes it.
    """

    dtype: torch.dtype
    runs: Sequence[Tensor]
    bounded: bool

    @classmethod
    def of(
        cls,
        value: Tensor,
        runs: Sequence[Tensor],
        producer: Operator | None,
        lowest: torch.dtype,
    ) -> "ReferenceValue":
        """Measure how far a right file may be from it, which may compute in a lower dtype."""
        exact = value.double() if value.is_floating_point() else value
        errors = [relative_errors(run, exact) for run in runs]
        dtype = value.dtype
        if dtype.is_floating_point:
            dtype = max(dtype, lowest, key=lambda known: torch.finfo(known).eps)
        unit = rounding_errors(exact, dtype, bounded=True)
        allowed = {m: LOCAL * max(e[m] for e in errors) + ROUNDING * unit[m] for m in MEASURES}
        bounded = producer is not None and producer.kind in BOUNDED
        return cls(exact, allowed, value.dtype, runs, bounded)

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


@dataclass(frozen=True, eq=False)
class ReferenceValues:
    """A reference on one input.

    Attributes:
        files: the reference, and the same with its weights moved by rounding.
        tensors: the input.
        precision: what either file computes in, where that is lower than float32.
        folder: for temporary files.
    """

    files: tuple[Path, Path]
    tensors: Sequence[NamedTensor]
    precision: Precision | None
    folder: Path

    @property
    def eps(self) -> float:
        """The unit in the last place of what either file computes in."""
        return self.precision.eps if self.precision else float(torch.finfo(torch.float32).eps)

    def all(self) -> dict[str, ReferenceValue]:
        """Return the inputs, which a file may cast, and all other values."""
        right, other = (graph_of(path, self.tensors, self.folder) for path in self.files)
        named = {n: ReferenceValue.of(t, [t], None, self._dtype) for n, t in self.tensors if n}
        return named | self._values(right, [other])

    def computed_from(self, given: Mapping[str, Tensor]) -> dict[str, ReferenceValue]:
        """Return the values where operators read given ones in place of those of their name."""
        eps = self.eps
        generator = torch.Generator().manual_seed(SEED)
        right, other = self._copy(0, given), self._copy(1, given)
        runs = []
        for _ in range(_RUNS):
            rounded = {name: moved(value, eps, generator) for name, value in given.items()}
            runs.append(self._run(other, rounded))
        return self._values(self._run(right, given), runs)

    def _copy(self, place: int, given: Mapping[str, Tensor]) -> Path:
        target = self.folder / f"given_{place}.onnx"
        with_given_values(self.files[place], target, given)
        return target

    def _run(self, path: Path, given: Mapping[str, Tensor]) -> OnnxGraph:
        fed = [(given_name(name), value) for name, value in given.items()]
        return graph_of(path, [*self.tensors, *fed], self.folder)

    def _values(self, right: OnnxGraph, runs: Sequence[OnnxGraph]) -> dict[str, ReferenceValue]:
        makers = {name: operator for operator in right.operators for name in operator.outputs}
        return {
            name: ReferenceValue.of(
                value, [run.values.get(name, value) for run in runs], makers.get(name), self._dtype
            )
            for name, value in right.values.items()
        }

    @property
    def _dtype(self) -> torch.dtype:
        return (self.precision.dtype if self.precision else None) or torch.float32

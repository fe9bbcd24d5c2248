"""A model's outputs where everything that a file may round otherwise is rounded otherwise.

A file's kernels sum in another order, its weights were folded and rounded once more, and its
exponentials are approximated by other polynomials. Each run draws such roundings at random: the
inputs and parameters are perturbed by units in the last place of the lowest precision that the
model computes in, and so are the values of functions that kernels approximate.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example
from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import base_name
from bnconvert.verification.rounding.continuity import may_jump
from bnconvert.verification.rounding.selections import TiesInOrder, orders_ties

#: Functions whose error in other kernels is about a unit in the last place of 1, not of the value.
_OF_ONE = frozenset({"sigmoid", "tanh", "softmax", "safe_softmax", "erf", "elu", "expm1"})
#: Those of which it is a unit of what they multiply, their argument.
_OF_ARGUMENT = frozenset({"silu", "gelu", "mish", "log_softmax"})

#: Of so many numbers one is moved by a unit in the last place, which is off by as much in the mean
#: square as all of them are that were rounded: by a unit through the square root of twelve.
_ONE_IN = 12

RunModel = Callable[[nn.Module, Example], list[Tensor]]


class Roundings(OperatorObserver):
    """A context that notes what a forward rounds, and where it may order equal values otherwise.

    Attributes:
        eps: the unit in the last place of 1 of the lowest precision that it computes in.
        orders_ties: whether it sorts.
        approximates: whether it computes functions that kernels approximate.
        may_jump: whether its result may change by more than in proportion to its inputs' changes.
    """

    def __init__(self) -> None:
        """Start with float64, and nothing sorted or approximated."""
        self.eps = float(torch.finfo(torch.float64).eps)
        self.orders_ties = self.approximates = self.may_jump = False

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator; note the precision of its result."""
        result = super().run_operator(operator, args, kwargs)
        if isinstance(result, Tensor) and result.is_floating_point():
            self.eps = max(self.eps, float(torch.finfo(result.dtype).eps))
        self.orders_ties |= orders_ties(operator)
        self.approximates |= _is_approximated(operator)
        self.may_jump |= may_jump(operator, args, result)
        return result


class ApproximatedKernels(OperatorObserver):
    """A context that perturbs the values of functions which kernels approximate."""

    def __init__(self, step: float, generator: torch.Generator) -> None:
        """Remember how much to perturb.

        Args:
            step: the largest perturbation, relative to 1 or to the function's argument.
            generator: draws how far.
        """
        self._step, self._generator = step, generator

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator; perturb its value."""
        result = super().run_operator(operator, args, kwargs)
        name = base_name(operator).strip("_")
        if not (_is_approximated(operator) and isinstance(result, Tensor)):
            return result
        noise = torch.rand(result.shape, generator=self._generator, device="cpu").to(result) * 2 - 1
        if name in _OF_ARGUMENT:
            noise = noise * (result.abs() if name == "log_softmax" else args[0].abs())
        noise = noise * self._step
        return result.add_(noise) if base_name(operator).endswith("_") else result + noise


def _is_approximated(operator: Any) -> bool:
    return base_name(operator).strip("_") in _OF_ONE | _OF_ARGUMENT


class PerturbedRuns:
    """The outputs of a model, perturbed in ever new ways, each computed when first asked for."""

    def __init__(
        self,
        model: nn.Module,
        example: Example,
        run: RunModel,
        *,
        units: float,
        count: int,
        roundings: Roundings | None = None,
    ) -> None:
        """Prepare to run; nothing is computed yet.

        Args:
            model: looked at only.
            example: the inputs.
            run: returns a model's outputs.
            units: how far to perturb.
            count: how many runs there are at most; none where the model refuses its inputs.
            roundings: of a forward on these inputs, where that is known.
        """
        self._known: list[list[Tensor]] = []
        self._roundings = roundings
        self._further = self._runs(model, example, run, units, count)

    def __iter__(self) -> Iterator[list[Tensor]]:
        """Yield the outputs of each run, always the same ones in the same order."""
        place = 0
        while True:
            if place == len(self._known):
                outputs = next(self._further, None)
                if outputs is None:
                    return
                self._known.append(outputs)
            yield self._known[place]
            place += 1

    @property
    def may_jump(self) -> bool:
        """Whether one may be much farther off than others; it is known from the first run on."""
        known = self._roundings
        return known is None or known.may_jump or known.calls_regions

    def _runs(
        self, model: nn.Module, example: Example, run: RunModel, units: float, count: int
    ) -> Iterator[list[Tensor]]:
        generator = torch.Generator().manual_seed(0)
        try:
            self._roundings = roundings = self._roundings or roundings_of(model, example, run)
            if roundings.orders_ties:
                with TiesInOrder():
                    outputs = run(model, example)
                yield outputs
            step = units * roundings.eps
            for _ in range(count):
                other = example.map(lambda tensor: moved(tensor, step, generator))
                with contextlib.ExitStack() as contexts:
                    contexts.enter_context(_moved_parameters(model, step, generator))
                    if roundings.approximates:
                        contexts.enter_context(ApproximatedKernels(step, generator))
                    if roundings.orders_ties:
                        contexts.enter_context(TiesInOrder())
                    outputs = run(model, other)
                yield outputs
        except Exception:
            return  # the model checks its inputs


@dataclass(frozen=True, eq=False)
class PerturbedRows:
    """The outputs of perturbed runs for some rows of their batch, which depend on no others.

    Attributes:
        runs: of the whole batch.
        rows: which ones.
        size: how many rows the batch has; a run of which an output has others counts for nothing.
    """

    runs: PerturbedRuns
    rows: Sequence[int]
    size: int

    def __iter__(self) -> Iterator[list[Tensor]]:
        """Yield the outputs of each run."""
        picks = list(self.rows)
        for outputs in self.runs:
            if all(output.dim() and len(output) == self.size for output in outputs):
                yield [output[picks] for output in outputs]

    @property
    def may_jump(self) -> bool:
        """As of the runs."""
        return self.runs.may_jump


def roundings_of(model: nn.Module, example: Example, run: RunModel) -> Roundings:
    """Return what a forward rounds."""
    with Roundings() as watch:
        run(model, example)
    return watch


@contextlib.contextmanager
def _moved_parameters(model: nn.Module, step: float, generator: torch.Generator) -> Iterator[None]:
    """Perturb the parameters of a model, until the context ends."""
    originals = [(parameter, parameter.detach().clone()) for parameter in model.parameters()]
    try:
        with torch.no_grad():
            for parameter, original in originals:
                parameter.copy_(moved(original, step, generator))
        yield
    finally:
        with torch.no_grad():
            for parameter, original in originals:
                parameter.copy_(original)


@contextlib.contextmanager
def rounded_anew(model: nn.Module) -> Iterator[None]:
    """Round the parameters below float32 otherwise, until the context ends.

    A fold makes other weights, which are rounded as the model's own were. In half precision that
    is no less than what its operators round, and more where an average takes the latter away.
    """
    generator = torch.Generator().manual_seed(0)
    own = [(p, p.detach().clone()) for p in model.parameters() if is_below_float32(p)]
    try:
        with torch.no_grad():
            for parameter, original in own:
                other = moved(original, 0.0, generator)
                chosen = torch.rand(original.shape, generator=generator, device="cpu") < 1 / _ONE_IN
                parameter.copy_(torch.where(chosen.to(original.device), other, original))
        yield
    finally:
        with torch.no_grad():
            for parameter, original in own:
                parameter.copy_(original)


def is_below_float32(tensor: Tensor) -> bool:
    """Tell whether the numbers of a tensor are floating-point ones of a lower precision."""
    eps = torch.finfo(torch.float32).eps
    return tensor.is_floating_point() and float(torch.finfo(tensor.dtype).eps) > eps


def moved(tensor: Tensor, step: float, generator: torch.Generator) -> Tensor:
    """Return a tensor with each number moved by a step of its own size, up or down."""
    if not tensor.is_floating_point():
        return tensor
    step = max(step, float(torch.finfo(tensor.dtype).eps))
    ups = torch.randint(2, tensor.shape, generator=generator, dtype=torch.int8, device="cpu")
    return ups.to(tensor).mul_(2 * step).add_(1 - step).mul_(tensor)

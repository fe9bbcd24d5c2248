"""A model's outputs where everything that a file may round otherwise is rounded otherwise.

A file's kernels sum in another order, its weights were folded and rounded once more, and its
exponentials are approximated by other polynomials. Each run draws such roundings at random: the
inputs and parameters are perturbed by units in the last place of the lowest precision that the
model computes in, and so are the values of functions that kernels approximate.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example
from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import base_name
from bnconvert.verification.selections import TiesInOrder

#: Functions whose error in other kernels is about a unit in the last place of 1, not of the value.
_OF_ONE = frozenset({"sigmoid", "tanh", "softmax", "safe_softmax", "erf", "elu", "expm1"})
#: Those of which it is a unit of what they multiply, their argument.
_OF_ARGUMENT = frozenset({"silu", "gelu", "mish", "log_softmax"})

RunModel = Callable[[nn.Module, Example], list[Tensor]]


class CoarsestPrecision(OperatorObserver):
    """A context that notes the lowest precision that a forward computes in.

    Attributes:
        eps: its unit in the last place of 1.
    """

    def __init__(self) -> None:
        """Start with float64."""
        self.eps = float(torch.finfo(torch.float64).eps)

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator; note the precision of its result."""
        result = super().run_operator(operator, args, kwargs)
        if isinstance(result, Tensor) and result.is_floating_point():
            self.eps = max(self.eps, float(torch.finfo(result.dtype).eps))
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
        if name not in _OF_ONE | _OF_ARGUMENT or not isinstance(result, Tensor):
            return result
        noise = torch.rand(result.shape, generator=self._generator).to(result) * 2 - 1
        if name in _OF_ARGUMENT:
            noise = noise * (result.abs() if name == "log_softmax" else args[0].abs())
        noise = noise * self._step
        return result.add_(noise) if base_name(operator).endswith("_") else result + noise


class PerturbedRuns:
    """The outputs of a model, perturbed in ever new ways, each computed when first asked for."""

    def __init__(
        self, model: nn.Module, example: Example, run: RunModel, *, units: float, count: int
    ) -> None:
        """Prepare to run; nothing is computed yet.

        Args:
            model: looked at only.
            example: the inputs.
            run: returns a model's outputs.
            units: how far to perturb.
            count: how many runs there are at most; none where the model refuses its inputs.
        """
        self._known: list[list[Tensor]] = []
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

    def _runs(
        self, model: nn.Module, example: Example, run: RunModel, units: float, count: int
    ) -> Iterator[list[Tensor]]:
        generator = torch.Generator().manual_seed(0)
        try:
            with CoarsestPrecision() as watch, TiesInOrder() as ties:
                outputs = run(model, example)
            if ties.found:
                yield outputs
            step = units * watch.eps
            for _ in range(count):
                other = example.map(lambda tensor: moved(tensor, step, generator))
                kernels = ApproximatedKernels(step, generator)
                with _moved_parameters(model, step, generator), kernels, TiesInOrder():
                    outputs = run(model, other)
                yield outputs
        except Exception:
            return  # the model checks its inputs


def coarsest_eps(model: nn.Module, example: Example, run: RunModel) -> float:
    """Return the unit in the last place of the lowest precision that a model computes in."""
    with CoarsestPrecision() as watch:
        run(model, example)
    return watch.eps


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


def moved(tensor: Tensor, step: float, generator: torch.Generator) -> Tensor:
    """Return a tensor with each number moved by a step of its own size, up or down."""
    if not tensor.is_floating_point():
        return tensor
    signs = torch.randint(2, tensor.shape, generator=generator).to(tensor) * 2 - 1
    return tensor * (1 + max(step, float(torch.finfo(tensor.dtype).eps)) * signs)

"""Trials with other weights: which weights are used at all, and which move an output."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example
from bnconvert.modules.copies.copying import copy_model
from bnconvert.verification.references.model_outputs import outputs_of
from bnconvert.verification.references.reference import SEED
from bnconvert.verification.weights.influence import GradientRun, weights_of

_MOST_RUNS = 200  # forwards to find which of many weights are used


class WeightTrials:
    """A copy of a model, with other weights for the time of one forward."""

    def __init__(self, model: nn.Module, example: Example) -> None:
        """Take the model, in eval mode, whose weights are changed and restored."""
        self._model, self._example = model, example

    def uses_any(self, names: Collection[str]) -> bool:
        """Tell whether any of the weights is used in the forward, as `used` has it."""
        return self._poisons(sorted(names))

    def used(self, names: Collection[str]) -> set[str]:
        """Return which weights are used in the forward: NaN in them reaches some module's output.

        Where there are too many to try, the rest counts as used.
        """
        runs = iter(range(_MOST_RUNS))

        def search(some: Sequence[str]) -> set[str]:
            if next(runs, None) is None:
                return set(some)
            if not some or not self._poisons(some):
                return set()
            if len(some) == 1:
                return set(some)
            middle = len(some) // 2
            return search(some[:middle]) | search(some[middle:])

        return search(sorted(names))

    def moving_outputs(self, names: Collection[str], but: Collection[int] = ()) -> set[str]:
        """Return which weights change an output when they alone are drawn anew.

        Args:
            names: the weights to try.
            but: outputs that do not count, by place.
        """
        if len(names) > _MOST_RUNS:
            return set()
        return {name for name in sorted(names) if self.move_outputs([name], but)}

    def move_outputs(self, names: Sequence[str], but: Collection[int] = ()) -> bool:
        """Tell whether an output changes when weights are drawn anew, all at once.

        Args:
            names: the weights.
            but: outputs that do not count, by place.
        """
        before, generator = self._before, torch.Generator().manual_seed(SEED)
        with self._changed(names, partial(_draw, generator=generator)):
            after = self._outputs()
        return before is not None and after is not None and bool(_change(before, after) - {*but})

    def cut_by_zeros(self) -> set[str]:
        """Return the weights that move an output once all-zero parameters are drawn anew."""
        copied = copy_model(self._model)
        zeros = [p for p in copied.parameters() if p.is_floating_point() and not p.any()]
        generator = torch.Generator().manual_seed(SEED)
        for parameter in zeros:
            _draw(parameter, generator)
        try:
            run = GradientRun.of(copied, self._example)
            return run.moving([*run.outputs.values()]) if zeros else set()
        except Exception:
            return set()

    @cached_property
    def _before(self) -> list[Tensor] | None:
        return self._outputs()

    def _outputs(self) -> list[Tensor] | None:
        try:
            return outputs_of(self._model, self._example)
        except Exception:
            return None

    def _poisons(self, names: Iterable[str]) -> bool:
        """Tell whether NaN in these weights reaches the output of some module, or stops the model.

        Where the model has NaN itself, this cannot be told: then it does.
        """
        seen: list[bool] = []

        def look(module: nn.Module, args: Any, output: Any) -> None:
            tensors = (leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor))
            seen.extend(bool(t.isnan().any()) for t in tensors if t.is_floating_point())

        with self._changed(names, lambda tensor: tensor.fill_(float("nan"))):
            hooks = [module.register_forward_hook(look) for module in self._model.modules()]
            try:
                return self._outputs() is None or any(seen)
            finally:
                for handle in hooks:
                    handle.remove()

    @contextmanager
    def _changed(self, names: Iterable[str], change: Callable[[Tensor], Any]) -> Iterator[None]:
        tensors = weights_of(self._model, names)
        before = [tensor.detach().clone() for tensor in tensors]
        try:
            with torch.no_grad():
                for tensor in tensors:
                    change(tensor)
            yield
        finally:
            with torch.no_grad():
                for tensor, old in zip(tensors, before, strict=True):
                    tensor.copy_(old)


def _draw(tensor: Tensor, generator: torch.Generator) -> None:
    """Fill a tensor with random numbers of its own size and sign pattern; zeros get some too."""
    with torch.no_grad():
        values = tensor.double().cpu()
        size = float(values[torch.isfinite(values)].square().mean().sqrt()) or 0.5
        noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64, device="cpu")
        positive = bool((values > 0).all())  # a variance stays positive
        drawn = size * (0.5 + noise) if positive else 2 * size * (2 * noise - 1)
        tensor.copy_(drawn)


def _is_equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(
        first.double().nan_to_num(), second.double().nan_to_num()
    )


def _change(first: Sequence[Tensor], second: Sequence[Tensor]) -> set[int]:
    """Return the places of the outputs that differ; all of them where their number does."""
    if len(first) != len(second):
        return set(range(len(first)))
    pairs = enumerate(zip(first, second, strict=True))
    return {index for index, (one, other) in pairs if not _is_equal(one, other)}

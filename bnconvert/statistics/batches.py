"""Read the user's batches, and run a model on one."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.errors import StatisticsError
from bnconvert.torch_private.tensor_versions import version_of

#: forward(model, batch) runs a model on a batch; the user's, where the model does not take it.
ForwardFunction = Callable[[nn.Module, Any], Any]
#: score(output, batch) returns a number, the smaller the better: a loss or an error.
ScoreFunction = Callable[[Any, Any], Any]


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch of the user's iterable, numbered.

    Attributes:
        index: its place in the iterable.
        value: what the iterable gave.
        seen: how many samples the batches before it had.
    """

    index: int
    value: Any
    seen: int

    def versions(self) -> list[int | None]:
        """Return torch's version counter of each tensor, which counts in-place changes."""
        return [version_of(tensor) for tensor in tensors_of(self.value)]


def read_batches(batches: Iterable[Any], max_samples: int | None) -> Iterator[Batch]:
    """Yield whole batches until `max_samples` samples were read; empty ones are left out.

    Raises:
        StatisticsError: `batches` is not an iterable of batches.
    """
    wrong = isinstance(batches, Tensor | nn.Module | str | Mapping)
    if wrong or not isinstance(batches, Iterable):
        raise StatisticsError(
            f"batches is a {type(batches).__name__}; give an iterable of batches, such as a "
            "DataLoader or images.split(32)"
        )
    if max_samples is not None and max_samples < 1:
        raise StatisticsError(f"max_samples is {max_samples}; give a positive number, or None")
    seen = 0
    for index, value in enumerate(batches):
        tensors = tensors_of(value)
        samples = tensors[0].shape[0] if tensors else None
        if samples != 0:
            yield Batch(index, value, seen)
        seen += samples or 0
        if max_samples is not None and seen >= max_samples:
            return


def tensors_of(value: Any) -> list[Tensor]:
    """Return all tensors in a batch, nested ones too, except those without axes."""
    leaves = pytree.tree_leaves(dict(value) if isinstance(value, Mapping) else value)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()]


def default_forward(device: torch.device) -> ForwardFunction:
    """Return the forward function for batches that are tensors, tuples, lists or mappings.

    Args:
        device: where tensors are moved to.
    """

    def call(model: nn.Module, batch: Any) -> Any:
        batch = dict(batch) if isinstance(batch, Mapping) else batch
        batch = pytree.tree_map_only(Tensor, lambda t: t.to(device), batch)
        if isinstance(batch, dict):
            return model(**batch)
        if isinstance(batch, tuple | list):
            return model(*batch[: required_arguments(model, batch)])
        return model(batch)

    return call


def required_arguments(model: nn.Module, batch: tuple[Any, ...] | list[Any]) -> int:
    """Return how many elements of a batch are inputs: as many as the forward requires.

    The rest are labels.

    Raises:
        StatisticsError: the forward requires none, or more than there are.
    """
    if len(batch) == 1:
        return 1
    parameters = inspect.signature(model.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in positional and p.default is p.empty]
    if not 0 < len(required) <= len(batch):
        raise StatisticsError(
            f"a batch has {len(batch)} elements and {type(model).__name__}.forward requires "
            f"{len(required)}; give forward=lambda model, batch: model(...)"
        )
    return len(required)

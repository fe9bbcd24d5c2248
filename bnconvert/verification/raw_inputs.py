"""Raw inputs: which inputs of a model are given before normalization, and the judge's own one.

The file normalizes them by operators in its graph (`exporting/preprocessing`). What it is compared
with is normalized here, by other code and in float64, and then handed to the user's own model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example


@dataclass(frozen=True, eq=False)
class RawInput:
    """An input of which the model takes (x - mean) / std, and the file x.

    Attributes:
        name: the input, for messages: the parameter of `forward`, with the keys inside it.
        argument: the position or the keyword of the call's argument.
        leaf: which leaf of that argument it is.
        axis: the axis of the channels; None where mean and std broadcast as they are.
        mean: in float64, in the units of the raw input.
        std: likewise.
        dtype: what the model computes in.
    """

    name: str
    argument: int | str
    leaf: int
    axis: int | None
    mean: Tensor
    std: Tensor
    dtype: torch.dtype

    @property
    def precision(self) -> torch.dtype:
        """The dtype to normalize in: pixels and means have more digits than half precision."""
        return torch.promote_types(self.dtype, torch.float32)


def normalized(example: Example, inputs: Sequence[RawInput], *, exact: bool) -> Example:
    """Return the inputs that the user's own model takes for a raw example.

    Args:
        example: as the file takes it.
        inputs: which of it is raw.
        exact: whether in float64; else in the precision of the model.
    """

    def one(raw: RawInput, x: Tensor) -> Tensor:
        values = x.to(torch.float64 if exact else raw.precision)
        if raw.axis is None:
            result = (values - raw.mean.to(values)) / raw.std.to(values)
        else:
            result = torch.empty_like(values)
            pairs = zip(raw.mean.tolist(), raw.std.tolist(), strict=True)
            for channel, (mean, std) in enumerate(pairs):
                plane = values.select(raw.axis, channel)
                result.select(raw.axis, channel).copy_((plane - mean) / std)
        return result if exact else result.to(raw.dtype)

    return _mapped(example, inputs, one)


class RawNormalization:
    """A forward pre-hook of the judge's copy of a model, which then takes raw inputs."""

    def __init__(self, inputs: Sequence[RawInput], *, exact: bool) -> None:
        """Keep which inputs are raw, and whether the copy is in float64."""
        self.inputs, self.exact = tuple(inputs), exact

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the call's inputs as the user's own model takes them."""
        example = normalized(Example(args, kwargs), self.inputs, exact=self.exact)
        return example.args, example.kwargs


def as_floating(example: Example, inputs: Sequence[RawInput]) -> Example:
    """Return a raw example with its integers as the floating-point numbers that a file makes.

    Only those can be perturbed by units in the last place, as a file's rounding does.
    """
    return _mapped(
        example, inputs, lambda raw, x: x if x.is_floating_point() else x.to(raw.precision)
    )


def denormalized(
    example: Example, inputs: Sequence[RawInput], generator: torch.Generator
) -> Example:
    """Return an example whose raw inputs are drawn around the mean, as far as their dtype goes."""

    def one(raw: RawInput, x: Tensor) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64, device="cpu").to(
            x.device
        )
        shape = [-1, *[1] * (-1 - raw.axis)] if raw.axis is not None else raw.mean.shape
        values = noise * raw.std.reshape(shape) + raw.mean.reshape(shape)
        if x.dtype == torch.bool:
            return values > 0.5
        if not x.is_floating_point():
            limits = torch.iinfo(x.dtype)
            values = values.round().clamp(limits.min, limits.max)
        return values.to(x.dtype)

    return _mapped(example, inputs, one)


def _mapped(example: Example, inputs: Sequence[RawInput], function: Any) -> Example:
    """Apply `function` to each raw input and its tensor."""
    args, kwargs = list(example.args), dict(example.kwargs)
    for raw in inputs:
        home: Any = args if isinstance(raw.argument, int) else kwargs
        leaves, structure = pytree.tree_flatten(home[raw.argument])
        leaves[raw.leaf] = function(raw, leaves[raw.leaf])
        home[raw.argument] = pytree.tree_unflatten(leaves, structure)
    return Example(tuple(args), kwargs)

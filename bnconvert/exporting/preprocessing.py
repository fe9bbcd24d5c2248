"""A model that takes raw inputs: it computes (x - mean) / std itself, first of all."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.modules.copies.parameter_copies import copy_viewing_parameters
from bnconvert.verification.raw_inputs import RawInput


def with_preprocess(model: nn.Module, inputs: Sequence[RawInput]) -> nn.Module:
    """Return a copy of a model that first normalizes its raw inputs; the model where none are.

    Args:
        model: an eager module; it is not changed.
        inputs: what is raw, as `raw_inputs` decides.

    Raises:
        UnsupportedModelError: the model cannot be copied.
    """
    if not inputs:
        return model
    copied = copy_viewing_parameters(model)  # a hook writes to none
    # In front of the user's own hooks, which see what they always see.
    copied.register_forward_pre_hook(Normalizing(inputs), with_kwargs=True, prepend=True)
    return copied


class Normalizing:
    """A forward pre-hook: (x - mean) / std of the raw inputs, as operators of the graph."""

    def __init__(self, inputs: Sequence[RawInput]) -> None:
        """Make constants that broadcast, in the precision to normalize in."""
        self.inputs = tuple(
            (raw, _constant(raw.mean, raw), _constant(raw.std, raw)) for raw in inputs
        )

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the call's inputs with the raw ones normalized."""
        positional, keyword = list(args), dict(kwargs)
        for raw, mean, std in self.inputs:
            home: Any = positional if isinstance(raw.argument, int) else keyword
            given = home[raw.argument]
            if isinstance(given, Tensor):
                home[raw.argument] = _scaled(given, mean, std, raw)
            else:
                leaves, structure = pytree.tree_flatten(given)
                leaves[raw.leaf] = _scaled(leaves[raw.leaf], mean, std, raw)
                home[raw.argument] = pytree.tree_unflatten(leaves, structure)
        return tuple(positional), keyword


def _constant(values: Tensor, raw: RawInput) -> Tensor:
    """Return a mean or deviation in a shape that broadcasts against the input."""
    if raw.axis is not None:
        values = values.reshape(-1, *[1] * (-1 - raw.axis))
    return values.to(raw.precision)


def _scaled(x: Tensor, mean: Tensor, std: Tensor, raw: RawInput) -> Tensor:
    """Normalize an input, of any dtype, and round to the model's dtype once."""
    if x.dtype != raw.precision:
        x = x.to(raw.precision)
    x = (x - mean) / std
    return x if raw.dtype == raw.precision else x.to(raw.dtype)

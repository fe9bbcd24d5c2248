"""How far numbers may be apart: by what the model itself makes of tiny changes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example
from tests.random_networks.verdicts import WrongError

#: A relative change of every weight and input; ten thousand times the rounding of float64.
_CHANGE = 1e-12
_TRIALS = 2


def outputs(model: Any, example: Example) -> list[Tensor]:
    """Return the tensors that a model returns, for inputs that it may change."""
    fresh = example.map(Tensor.clone)
    with torch.no_grad():
        return tensors_in(model(*fresh.args, **fresh.kwargs))


def tensors_in(result: Any) -> list[Tensor]:
    """Return the tensors of what a model returned."""
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]


def reach(model: nn.Module, example: Example, change: float = _CHANGE) -> list[Tensor]:
    """Return how far each output moves where weights and inputs change a little.

    Args:
        model: is changed and left so; give one that nobody needs.
        example: its inputs.
        change: by how much, relatively.
    """
    truth = outputs(model, example)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.Generator().manual_seed(5)

    def moved(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        signs = torch.randint(2, tensor.shape, generator=generator) * 2 - 1
        return tensor * (1 + change * signs)

    distances = [torch.zeros_like(t) for t in truth]
    for _ in range(_TRIALS):
        for name, tensor in model.state_dict().items():
            tensor.copy_(moved(state[name]))
        for i, value in enumerate(outputs(model, example.map(moved))):
            distances[i] = torch.maximum(distances[i], (value - truth[i]).abs().nan_to_num(0))
    return distances


def _channels(tensor: Tensor) -> Iterator[Tensor]:
    """Give the parts that have a size of their own."""
    yield from tensor.unbind(1) if tensor.dim() > 1 else (tensor,)


def require_close(
    found: Sequence[Tensor],
    truth: Sequence[Tensor],
    reaches: Sequence[Tensor],
    *,
    factor: float,
    least: float,
    what: str,
) -> None:
    """Raise unless outputs are as close, channel by channel, as the model's own are.

    Args:
        found: outputs.
        truth: what they should be.
        reaches: how far the true ones move by themselves.
        factor: how many times that is allowed.
        least: what is allowed in any case, relative to the channel's largest number; a thousandth
            of it relative to the output's.
        what: is compared.

    Raises:
        WrongError: a number is too far away, or one is finite and the other is not.
    """
    if len(found) != len(truth):
        raise WrongError(f"{what}: {len(found)} outputs for {len(truth)}")
    for number, (value, true, moves) in enumerate(zip(found, truth, reaches, strict=True)):
        if value.shape != true.shape:
            raise WrongError(
                f"{what}: output {number} is {tuple(value.shape)}, not {tuple(true.shape)}"
            )
        value = value.double()
        if not torch.equal(value.isfinite(), true.isfinite()):
            raise WrongError(f"{what}: output {number}: other places are NaN or infinite")
        size = float(true.nan_to_num(0, 0, 0).abs().max()) if true.numel() else 0.0
        for channel, (v, t, m) in enumerate(
            zip(_channels(value), _channels(true), _channels(moves), strict=True)
        ):
            error = (v - t).abs().nan_to_num(0, 0, 0).max()
            own = t.nan_to_num(0, 0, 0).abs().max()
            allowed = factor * m.max() + least * own + 1e-3 * least * size
            if error > allowed:
                raise WrongError(
                    f"{what}: output {number} channel {channel} is off by {float(error):.2g} "
                    f"where {float(allowed):.2g} is allowed and its numbers reach {float(own):.2g}"
                )


def require_exact(module: Any, truth: Callable[[], nn.Module], example: Example, what: str) -> None:
    """Raise unless a module computes what the model does, but for the rounding of float64.

    Args:
        module: is compared.
        truth: builds the model.
        example: its inputs.
        what: is compared.

    Raises:
        WrongError: a number is too far away.
    """
    true, reaches = outputs(truth(), example), reach(truth(), example)
    require_close(outputs(module, example), true, reaches, factor=1, least=1e-12, what=what)

"""What a model answers, and how far two answers are apart."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example
from bnconvert.numerics.distance import relative_error


def outputs(model: nn.Module, example: Example, seed: int = 0) -> list[Tensor]:
    """Run the model; the same seed always, for those that draw random numbers in eval mode."""
    torch.manual_seed(seed)
    with torch.no_grad():
        fresh = example.map(Tensor.clone)
        result = model(*fresh.args, **fresh.kwargs)
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]


def worst_error(measured: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Return the largest relative error of any output; infinite where an output is missing."""
    if len(measured) != len(truth):
        return float("inf")
    pairs = zip(measured, truth, strict=True)
    return max((relative_error(m, t, "norm") for m, t in pairs), default=0.0)


def in_double(model: nn.Module, example: Example) -> tuple[nn.Module, Example, str]:
    """Turn model and example into float64; where it cannot run so, leave it and say why."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        wide = example.in_double()
        outputs(model.double(), wide)
    except Exception as failure:
        model.float().load_state_dict(state)
        return model, example, str(failure).splitlines()[0][:120]
    return model, wide, ""

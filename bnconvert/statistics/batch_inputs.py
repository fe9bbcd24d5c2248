"""Which parts of a batch are inputs of a model, and its forward on them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.errors import StatisticsError

#: forward(model, batch) runs a model on a batch; the user's, where the model does not take it.
ForwardFunction = Callable[[nn.Module, Any], Any]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
#: Types of defaults of parameters that take no tensor.
_SWITCHES = (bool, int, float, str)
#: Where wrappers keep what they wrap: torch's AveragedModel and DataParallel, PEFT, torch.compile.
_WRAPPED = ("module", "base_model", "model", "_orig_mod")


def default_forward(device: torch.device) -> ForwardFunction:
    """Return the forward function for batches that are tensors, tuples, lists or mappings.

    Args:
        device: where tensors are moved to.
    """

    def call(model: nn.Module, batch: Any) -> Any:
        batch = dict(batch) if isinstance(batch, Mapping) else batch
        batch = pytree.tree_map_only(Tensor, lambda t: t.to(device), batch)
        if isinstance(batch, dict):
            return model(**named_inputs(model, batch))
        if isinstance(batch, tuple | list):
            return model(*batch[: required_arguments(model, batch)])
        return model(batch)

    return call


def required_arguments(model: nn.Module, batch: tuple[Any, ...] | list[Any]) -> int:
    """Return how many elements of a batch are inputs: as many as the forward requires.

    The rest are labels. The forward of a wrapper that takes anything is that of what it wraps.

    Raises:
        StatisticsError: the forward requires none, or more than there are; or it may take an
            element that would be left out.
    """
    if len(batch) == 1:
        return 1
    model = _unwrapped(model)
    name = f"{type(model).__name__}.forward"
    parameters = inspect.signature(model.forward).parameters.values()
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    required = sum(p.default is p.empty for p in positional)
    remedy = "give forward=lambda model, batch: model(...)"
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise StatisticsError(
            f"a batch has {len(batch)} elements and {name} takes any number, so that inputs and "
            f"labels cannot be told apart; {remedy}"
        )
    if not 0 < required <= len(batch):
        raise StatisticsError(
            f"a batch has {len(batch)} elements and {name} requires {required}; {remedy}"
        )
    optional = positional[required : len(batch)]
    doubtful = [p.name for p in optional if not isinstance(p.default, _SWITCHES)]
    if doubtful:
        raise StatisticsError(
            f"a batch has {len(batch)} elements, of which {name} requires {required} and may take "
            f"{', '.join(doubtful)} too, so that inputs and labels cannot be told apart; {remedy}"
        )
    return required


def named_inputs(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a batch that the forward takes; the others are labels or ids.

    Raises:
        StatisticsError: the forward requires what is not there; or there are entries that it does
            not take, while it may take another one, which may be that by another name.
    """
    model = _unwrapped(model)
    parameters = inspect.signature(model.forward).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return dict(batch)
    named = {p.name: p for p in parameters if p.kind in _NAMED}
    others = [str(key) for key in batch if key not in named]
    absent = [p for p in named.values() if p.name not in batch]
    required = [p.name for p in absent if p.default is p.empty]
    doubtful = [p.name for p in absent if not isinstance(p.default, _SWITCHES)]
    if required or (others and doubtful):
        may = "requires" if required else "may take"
        raise StatisticsError(
            f"a batch has {', '.join(map(str, batch))}, and {type(model).__name__}.forward {may} "
            f"{', '.join(required or doubtful)}, which is not there; give "
            "forward=lambda model, batch: model(...)"
        )
    return {key: value for key, value in batch.items() if key in named}


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the innermost model of wrappers whose forward takes whatever it is given."""
    seen: list[nn.Module] = []
    while model not in seen and _takes_anything(model):
        seen.append(model)
        inner = (getattr(model, name, None) for name in _WRAPPED)
        model = next((m for m in inner if isinstance(m, nn.Module)), model)
    return model


def _takes_anything(model: nn.Module) -> bool:
    kinds = {p.kind for p in inspect.signature(model.forward).parameters.values()}
    variadic = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return inspect.Parameter.VAR_POSITIONAL in kinds and kinds <= variadic

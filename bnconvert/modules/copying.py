"""The one place that deep-copies a model: wholly, but for its parameters, its modules, its graph.

Process groups, which torch cannot copy, are shared by every copy.
"""

import copy
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from torch import Tensor, distributed as dist, fx, nn

from bnconvert.errors import UnsupportedModelError, first_line
from bnconvert.modules.surgery import instances_in
from bnconvert.modules.tracking import TrackingNorm

_REMEDY = "remove that attribute from the model, and set it again afterwards"


def copy_model(model: nn.Module, *, remedy: str = _REMEDY) -> nn.Module:
    """Return an independent copy of a model, parameters and buffers included; modes are kept.

    Args:
        model: any module.
        remedy: what the error message advises.

    Raises:
        UnsupportedModelError: an attribute of the model cannot be copied.
    """
    return _copied(model, (), remedy)


def copy_sharing_parameters(model: nn.Module) -> nn.Module:
    """Return a copy that shares the model's parameters, but not its buffers; modes are kept.

    Raises:
        UnsupportedModelError: an attribute of the model cannot be copied.
    """
    return _copied(model, model.parameters())


def replicate(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode that shares every parameter, buffer and array with `model`.

    What a forward stores on its modules (a skip connection, a feature dictionary of a hook, a
    counter) stays with the replica. In it, all norms of bnconvert normalize by their running
    statistics, adaptive ones too.

    Raises:
        UnsupportedModelError: an attribute of the model cannot be copied.
    """
    replica = _copied(model, _arrays_of(model))
    for module in replica.modules():
        module.training = False
        if isinstance(module, TrackingNorm):
            module.statistics = "running"
    return replica


def copy_graph(module: fx.GraphModule) -> fx.GraphModule:
    """Return a copy of a captured graph that can be rewritten; it shares the tensors."""
    return fx.GraphModule(module, copy.deepcopy(module.graph))


def _copied(model: nn.Module, shared: Iterable[object], remedy: str = _REMEDY) -> nn.Module:
    """Deep-copy a model, but share the given objects and its process groups."""
    memo: dict[int, Any] = {id(value): value for value in (*shared, *_process_groups(model))}
    memo |= _empty_tables(model)
    try:
        return copy.deepcopy(model, memo)
    except Exception as failure:
        raise UnsupportedModelError(
            f"{type(model).__name__}: cannot be copied ({first_line(failure)}); {remedy}"
        ) from failure


def _empty_tables(model: nn.Module) -> dict[int, Any]:
    """Return copies of the modules' empty dictionaries, by identity.

    A module has about ten, of hooks that it does not have, and they take most of a deep copy's
    time.
    """
    return {
        id(value): type(value)()
        for module in model.modules()
        for value in vars(module).values()
        if type(value) in (dict, OrderedDict) and not value
    }


def _process_groups(model: nn.Module) -> Iterator[object]:
    """Yield the process groups that modules hold."""
    if dist.is_available():
        values = (value for module in model.modules() for value in vars(module).values())
        yield from (value for value in values if isinstance(value, dist.ProcessGroup))


def _arrays_of(model: nn.Module) -> Iterator[Tensor | np.ndarray[Any, Any]]:
    """Yield every tensor and array that the modules hold."""
    for module in model.modules():
        yield from (t for t in module._parameters.values() if t is not None)
        yield from (t for t in module._buffers.values() if t is not None)
        for name, value in vars(module).items():
            if not name.startswith("_"):
                yield from instances_in(value, (Tensor, np.ndarray))

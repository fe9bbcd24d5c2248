"""The one place that deep-copies a model: wholly, but for its parameters, its modules, its graph.

A copy is independent: what `copy.deepcopy` shares with the original and leads back to it (a
function that was set as a forward, a hook, a weak reference) is made anew, or the copy is refused.
Process groups, which torch cannot copy, are shared by every copy.
"""

import collections
import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed as dist, fx, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, Sampler

from bnconvert.errors import UnsupportedModelError, first_line
from bnconvert.modules.copies.plain_copies import copy_plainly
from bnconvert.modules.copies.rebinding import CannotRebindError, Rebinding
from bnconvert.modules.copies.references import (
    WEAK_REFERENCES,
    can_lead_elsewhere,
    contained_in,
    reaches,
)
from bnconvert.modules.copies.self_references import forward_that_names_model, holder_of
from bnconvert.modules.lazy_modules import require_weights
from bnconvert.modules.tracking import TrackingNorm
from bnconvert.torch_private.views import base_of

_REMEDY = "remove that attribute from the model, and set it again afterwards"
_OF_FORWARD = "make it the forward of the module's class, which uses self"
_SELF = "let that forward use self"
#: What a forward does not change, and what may be large.
_DATA = (Dataset, DataLoader, Sampler, Optimizer, LRScheduler)
#: Containers with more items are copied item by item only where they hold more than data.
_LARGE = 1000
_BUILTIN = (list, tuple, set, dict, collections.deque)


def copy_model(model: nn.Module, *, remedy: str = _REMEDY) -> nn.Module:
    """Return an independent copy of a model, parameters and buffers included; modes are kept.

    Args:
        model: any module.
        remedy: what the error message advises.

    Raises:
        UnsupportedModelError: an attribute of the model cannot be copied.
    """
    return _Copier(model).copied((), remedy)


def copy_with(model: nn.Module, others: Mapping[int, object]) -> nn.Module:
    """Return `copy_model(model)` with others in the place of some objects, by id of the original.

    Raises:
        UnsupportedModelError: an attribute of the model cannot be copied.
    """
    return _Copier(model).copied((), others=others)


def copy_sharing_parameters(model: nn.Module) -> nn.Module:
    """Return a copy that shares the model's parameters, but not its buffers; modes are kept.

    Raises:
        UnsupportedModelError: an attribute of the model cannot be copied.
    """
    return _Copier(model).copied(model.parameters())


def replicate(model: nn.Module) -> nn.Module:
    """Return one replica of a model, as `Replicas` makes several.

    Raises:
        UnsupportedModelError: an attribute of the model cannot be copied.
    """
    return Replicas(model).new()


class Replicas:
    """Makes copies of one model in eval mode that share every tensor and array with it.

    What a forward stores on its modules (a skip connection, a feature dictionary of a hook, a
    counter) stays with the replica. In it, all norms of bnconvert normalize by their running
    statistics, adaptive ones too, and fake quantization keeps its scales. Data sets, loaders and
    optimizers are shared as well, and large containers of data are copied without their items.
    """

    def __init__(self, model: nn.Module) -> None:
        """Look for what all replicas share, once; the model is not to be changed afterwards."""
        self._copier = _Copier(model)
        self._shared: list[object] = []
        self._large: list[Any] = []
        for value in self._copier.contained:
            kind = type(value)
            if issubclass(kind, Tensor | np.ndarray) or (
                issubclass(kind, _DATA) and not _leads_to(value, nn.Module)
            ):
                self._shared.append(value)
            elif _is_large(value) and not _leads_to(value, Callable):
                self._large.append(value)

    def new(self) -> nn.Module:
        """Return a further replica.

        Raises:
            UnsupportedModelError: an attribute of the model cannot be copied.
        """
        large = {id(value): copy.copy(value) for value in self._large}
        replica = self._copier.copied(self._shared, others=large)
        for module in replica.modules():
            module.training = False
            if isinstance(module, TrackingNorm):
                module.statistics = "running"
            _rest_observer(module)
        return replica


def _rest_observer(module: nn.Module) -> None:
    """Let a fake quantization of a replica keep its scale, which it changes in eval mode too.

    One that has seen no data has none yet, and goes on.
    """
    enabled, scale = (module._buffers.get(name) for name in ("observer_enabled", "scale"))
    seen = getattr(getattr(module, "activation_post_process", None), "min_val", None)
    if enabled is None or scale is None or not isinstance(seen, Tensor):
        return
    if seen.numel() and bool(seen.isfinite().all()):
        module._buffers["observer_enabled"] = torch.zeros_like(enabled)


def copy_graph(module: fx.GraphModule) -> fx.GraphModule:
    """Return a copy of a captured graph that can be rewritten; it shares the tensors."""
    return fx.GraphModule(module, copy.deepcopy(module.graph))


def _is_large(value: Any) -> bool:
    return type(value) in _BUILTIN and len(value) > _LARGE


def _leads_to(value: object, kind: Any) -> bool:
    """Tell whether an instance of a type can be reached from a value."""
    return reaches(value, lambda inner: isinstance(inner, kind), set())


class _Copier:
    """Deep-copies one model, as often as it is asked to.

    Attributes:
        contained: everything that the model holds.
    """

    def __init__(self, model: nn.Module) -> None:
        """Look at what the model holds, once."""
        self.model = model
        self.contained = list(contained_in(model))
        self._special = list(filter(_is_special, self.contained))
        self._leads_elsewhere = any(map(can_lead_elsewhere, self.contained))

    def copied(
        self,
        shared: Iterable[object],
        remedy: str = _REMEDY,
        others: Mapping[int, object] | None = None,
    ) -> nn.Module:
        """Return a copy that shares the given objects, and has others in the place of some.

        Raises:
            UnsupportedModelError: an attribute of the model cannot be copied.
        """
        model = self.model
        memo: dict[int, Any] = {id(value): value for value in shared} | dict(others or {})
        try:
            _prepare(self._special, memo)
            twin: nn.Module = copy_plainly(model, memo, copy.deepcopy)
        except Exception as failure:
            require_weights(model)
            raise UnsupportedModelError(
                f"{type(model).__name__}: cannot be copied ({first_line(failure)}); {remedy}"
            ) from failure
        if self._leads_elsewhere:
            self._rebind(memo, remedy)
        if found := forward_that_names_model(model, memo):
            path, name = found
            raise UnsupportedModelError(
                f"{path}: the forward of its class reads the model through the variable {name!r}, "
                f"so that a copy would run the original; {_SELF if remedy is _REMEDY else remedy}"
            )
        return twin

    def _rebind(self, memo: dict[int, Any], remedy: str) -> None:
        """Let everything in the copy lead to the copy, and nothing to the original."""

        def duplicate(value: Any) -> Any:
            _prepare(filter(_is_special, contained_in(value)), memo)
            return copy.deepcopy(value, memo)

        try:
            Rebinding(memo, duplicate).run()
        except CannotRebindError as failure:
            holder = holder_of(self.model, failure.culprit)
            if remedy is _REMEDY and holder.rpartition(".")[2] == "forward":
                remedy = _OF_FORWARD  # without it, the model is another function
            raise UnsupportedModelError(
                f"{holder}: leads back to the model, and cannot be copied with it ({failure}); "
                f"{remedy}"
            ) from failure


def _is_special(value: Any) -> bool:
    """Tell whether `copy.deepcopy` cannot copy a value, or copies it wrongly."""
    kind = type(value)
    if issubclass(kind, Tensor):
        return not value.is_leaf
    group = dist.is_available() and issubclass(kind, dist.ProcessGroup)
    return group or issubclass(kind, WEAK_REFERENCES)


def _prepare(special: Iterable[Any], memo: dict[int, Any]) -> None:
    """Add copies of special values, by id of the original; weak references and groups are shared.

    Weak references wait to be rebound.
    """
    for value in [value for value in special if id(value) not in memo]:
        is_tensor = issubclass(type(value), Tensor)
        memo[id(value)] = _with_history(value, memo) if is_tensor else value


def _with_history(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """Copy a tensor that has a gradient history: a kept activation, a weight norm's weight.

    The copy has none, but for a view of a parameter (a tied weight, transposed): it is the same
    view of the copied parameter.
    """
    base = base_of(tensor)
    if base is None or not base.is_leaf or base.dtype != tensor.dtype:
        return copy.deepcopy(tensor.detach(), memo)
    copied: Tensor = copy.deepcopy(base, memo)
    offset = copied.storage_offset() + tensor.storage_offset() - base.storage_offset()
    with torch.enable_grad():
        return copied.as_strided(tensor.size(), tensor.stride(), offset)

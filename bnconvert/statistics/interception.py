"""Intercept every normalization by the running statistics that are measured.

Batch norm's modules, their subclasses with a forward of their own, fused layers and functional
calls all end in `F.batch_norm`, and the memory of the buffer tells whose statistics they use: the
buffer itself, or a view of it, such as `running_mean.detach()`.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bnconvert.modules.kinds import norms_in
from bnconvert.statistics.captured_norms import call_functions
from bnconvert.statistics.targets import StatisticsTarget
from bnconvert.statistics.unmeasured import UnmeasuredUses
from bnconvert.torch_private.storages import identity_of

#: Called with the target and the values that are about to be normalized by it.
OnArrival = Callable[[StatisticsTarget, Tensor], None]

#: The positions of the running mean and the flag: torch.batch_norm has the affine ones first.
_POSITIONS = {F.batch_norm: (1, 5), torch.batch_norm: (3, 5)}


class Watch:
    """What is intercepted: the targets, the statistics of other norms, and where to note uses."""

    def __init__(self, targets: Collection[StatisticsTarget], uses: UnmeasuredUses) -> None:
        """Prepare to recognize targets by their tensors.

        Args:
            targets: what is measured.
            uses: takes notes of what cannot be.
        """
        self.uses = uses
        self._by_tensor = {id(t): target for target in targets for t in (target.mean, target.var)}
        self._counters = {id(target.counter) for target in targets if target.counter is not None}
        self._by_place = {_place_of(target.mean): target for target in targets}
        self._by_memory = {_memory_of(target.mean): target for target in targets}

    def reader_of(self, values: Collection[Any]) -> StatisticsTarget | None:
        """Return the target of which one of the values is a buffer."""
        found = (self._by_tensor.get(id(value)) for value in values)
        return next((target for target in found if target is not None), None)

    def is_counter(self, value: Any) -> bool:
        """Tell whether a value is the buffer in which a target counts batches."""
        return id(value) in self._counters

    def owner_of(self, mean: Tensor) -> StatisticsTarget | None:
        """Return the target whose running mean this is: the buffer, a view or a part of it."""
        found = self._by_tensor.get(id(mean)) or self._by_place.get(_place_of(mean))
        return found or self._by_memory.get(_memory_of(mean))


class Interception(TorchFunctionMode):
    """A context in which `on_arrival` is called before each normalization by a target."""

    def __init__(self, watch: Watch, replica: nn.Module, on_arrival: OnArrival) -> None:
        """Prepare the context.

        Args:
            watch: the targets, and where other uses of statistics are noted.
            replica: the model that runs; the code of its captured graphs is changed.
            on_arrival: may change the target's statistics, and may pause the forward.
        """
        super().__init__()
        call_functions(replica)
        self.watch, self.replica, self.on_arrival = watch, replica, on_arrival
        self._known: set[int] | None = None  # memory of the statistics of all norms
        self._weights: set[int] | None = None  # memory of all parameters

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call `func`, and `on_arrival` before it where it normalizes by a target's statistics."""
        named = kwargs or {}
        if func in _POSITIONS:
            return self._normalize(func, args, named)
        target = self.watch.reader_of(args)
        name = getattr(func, "__name__", "")
        if name.startswith("add_") and self.watch.is_counter(args[0]):
            return args[0]  # a captured graph counts its batches itself, in eval too
        if target is not None and name != "__get__":  # the shape, the dtype, the device
            self.watch.uses.note_reader(target, name)
        return func(*args, **named)

    def _normalize(
        self, func: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]
    ) -> Any:
        """Normalize as the call says, and let nothing but `on_arrival` change the statistics."""
        mean_at, flag_at = _POSITIONS[func]
        mean = args[mean_at] if len(args) > mean_at else named.get("running_mean")
        by_batch = args[flag_at] if len(args) > flag_at else named.get("training", False)
        target = None if mean is None else self.watch.owner_of(mean)
        x = args[0] if args else named["input"]
        if target is None or mean is None or mean.shape != target.mean.shape:
            alone = mean is None and by_batch and not self._is_weight(x)
            self._note(target, mean, alone)
            return func(*args, **named)
        self.on_arrival(target, x)
        if not by_batch:
            return func(*args, **named)
        values = target.mean.clone(), target.var.clone()
        result = func(*args, **named)
        target.set_values(*values)
        return result

    def _note(self, target: StatisticsTarget | None, mean: Tensor | None, alone: bool) -> None:
        """Note a normalization that cannot be measured."""
        if target is not None and mean is not None:
            self.watch.uses.note_part(target, mean.numel())
        elif mean is None:
            if alone:
                self.watch.uses.note_other(self.replica, None)
        elif _memory_of(mean) not in self._memory_of_norms():
            self.watch.uses.note_other(self.replica, mean.numel())

    def _is_weight(self, x: Tensor) -> bool:
        """Tell whether a parameter is normalized, reshaped or as it is (weight standardization)."""
        if self._weights is None:
            self._weights = {_memory_of(p) for p in self.replica.parameters()}
        return _memory_of(x) in self._weights

    def _memory_of_norms(self) -> set[int]:
        if self._known is None:
            norms = (norm for _, norm, _ in norms_in(self.replica))
            self._known = {_memory_of(b) for norm in norms for b in norm.buffers()}
        return self._known


def _place_of(tensor: Tensor) -> tuple[int, int]:
    return _memory_of(tensor), int(tensor.storage_offset())


def _memory_of(tensor: Tensor) -> int:
    return identity_of(tensor.untyped_storage())

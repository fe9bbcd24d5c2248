"""A limit on the memory of paused forwards: activations that exceed it are moved away.

Those in main memory are moved to a file, those on an accelerator to main memory. They are brought
back before they are used.

The tensors that paused forwards hold cannot be found from outside, but each was made by an
operator, and operators can be observed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bnconvert.statistics.batches import Batch
from bnconvert.statistics.paging.device_memory import DeviceMemory
from bnconvert.statistics.paging.swap_space import SwapSpace
from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import changes_its_inputs
from bnconvert.torch_private.storages import identity_of


class Memory:
    """The memory of paused forwards, without a limit: nothing is moved."""

    def __enter__(self) -> "Memory":
        """Begin."""
        return self

    def __exit__(self, *error: Any) -> None:
        """End."""

    def adopt(self, batch: Batch) -> Batch:
        """Return the batch in a form whose tensors may be moved: here as it is."""
        return batch

    def running(self, owner: int) -> AbstractContextManager[None]:
        """Return the context in which the forward of batch `owner` runs on."""
        return nullcontext()

    def summary(self) -> str | None:
        """Return a sentence about what was moved, or None."""
        return None


class LimitedMemory(Memory):
    """The memory of paused forwards, up to a limit on each device; the rest is elsewhere.

    The forwards that will resume last are moved first. Tensors on devices that are not named are
    neither counted nor moved.

    Attributes:
        limit: bytes of live activations on each device.
        devices: what is held on each, once it is entered.
    """

    def __init__(self, limit: int, spaces: Mapping[torch.device, Callable[[], SwapSpace]]) -> None:
        """Allow `limit` bytes on each of the devices.

        Args:
            limit: the bytes.
            spaces: the devices, and what opens the place to which the rest is moved.
        """
        self.limit = limit
        self.devices: dict[torch.device, DeviceMemory] = {}
        self._spaces = spaces
        self._clock = 0
        self._paused: dict[int, int] = {}  # batch to the time of its last pause
        self._owner: int | None = None
        self._observer = _StorageObserver(self)

    def __enter__(self) -> "LimitedMemory":
        """Open the places, and observe operators."""
        for device, open_space in self._spaces.items():
            self.devices[device] = DeviceMemory(self.limit, open_space())
        self._observer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Bring back all tensors that are still alive, and close the places."""
        self._observer.__exit__(*error)
        with ExitStack() as stack:
            for memory in self.devices.values():
                stack.callback(memory.close)

    def adopt(self, batch: Batch) -> Batch:
        """Return the batch with copies of what may be moved: the user's own tensors must not be."""

        def copied(tensor: Tensor) -> Tensor:
            return tensor.clone() if tensor.device in self.devices else tensor

        with self.running(batch.index):
            value = pytree.tree_map_only(Tensor, copied, batch.value)
        return replace(batch, value=value)

    @contextmanager
    def running(self, owner: int) -> Iterator[None]:
        """Keep all activations of batch `owner` on their devices while its forward runs on."""
        self._owner = owner
        with self._observer.looking_away():
            for memory in self.devices.values():
                memory.bring_back(owner, self._paused)
        try:
            yield
        finally:
            self._owner = None
            self._clock += 1
            self._paused[owner] = self._clock
            with self._observer.looking_away():
                self.make_room()

    def summary(self) -> str:
        """Return how much was held at most, and how much was moved."""
        return "; ".join(
            f"live activations on {device}: at most {memory.peak / 1e6:.0f} MB of "
            f"{memory.limit / 1e6:.0f} MB allowed; {memory.space.written / 1e6:.0f} MB were moved "
            f"to {memory.space.name} and back"
            for device, memory in self.devices.items()
        )

    def register(self, storage: torch.UntypedStorage) -> None:
        """Count a storage that an operator made."""
        if self._owner is not None:
            self.devices[storage.device].register(storage, self._owner)

    def ensure_resident(self, storage: torch.UntypedStorage, *, changes: bool) -> None:
        """Bring back a storage that an operator is going to read, or change."""
        self.devices[storage.device].ensure_resident(storage, changes=changes)

    def make_room(self) -> None:
        """Move away what exceeds the limits."""
        for memory in self.devices.values():
            memory.make_room(self._owner, self._paused)


class _StorageObserver(OperatorObserver):
    """Tells the memory of every operator's inputs and outputs."""

    def __init__(self, memory: LimitedMemory) -> None:
        self.memory = memory
        self.is_looking_away = False

    @contextmanager
    def looking_away(self) -> Iterator[None]:
        """Observe nothing meanwhile: bytes are moved by operators too."""
        self.is_looking_away = True
        try:
            yield
        finally:
            self.is_looking_away = False

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.is_looking_away:
            return super().run_operator(operator, args, kwargs)
        changes = changes_its_inputs(operator)
        inputs = self._storages((args, kwargs))
        for storage in inputs.values():
            self.memory.ensure_resident(storage, changes=changes)
        result = super().run_operator(operator, args, kwargs)
        # Only new storages: a view of a parameter was not made by the forward.
        for key, storage in self._storages(result).items():
            if key not in inputs:
                self.memory.register(storage)
        self.memory.make_room()
        return result

    def _storages(self, tree: Any) -> dict[int, torch.UntypedStorage]:
        """Return the storages of the tensors on the limited devices, by their identity."""
        leaves = (leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor))
        plain = (t for t in leaves if t.layout is torch.strided and t.device in self.memory.devices)
        storages = (tensor.untyped_storage() for tensor in plain)
        return {identity_of(storage): storage for storage in storages}

"""A limit on the memory of paused forwards: activations that exceed it are moved to a file.

They are brought back before they are used.

The tensors that paused forwards hold cannot be found from outside, but each was made by an
operator, and operators can be observed. A tensor's storage is emptied in place and filled again
in place, so that all references to it stay valid.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bnconvert.statistics.batches import Batch
from bnconvert.statistics.swap_file import SwapFile
from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import changes_its_inputs
from bnconvert.torch_private.storages import identity_of

_SMALL = 4096  # bytes; smaller tensors are not worth a file access


class Memory:
    """The memory of paused forwards, without a limit: nothing is moved to a file."""

    def __enter__(self) -> "Memory":
        """Begin."""
        return self

    def __exit__(self, *error: Any) -> None:
        """End."""

    def adopt(self, batch: Batch) -> Batch:
        """Return the batch in a form whose tensors may be moved to a file: here as it is."""
        return batch

    def running(self, owner: int) -> AbstractContextManager[None]:
        """Return the context in which the forward of batch `owner` runs on."""
        return nullcontext()

    def summary(self) -> str | None:
        """Return a sentence about what was moved, or None."""
        return None


@dataclass(eq=False)
class _Page:
    """A tensor's storage that may be moved to the file.

    Attributes:
        storage: weakly, the storage.
        size: its bytes.
        owner: the index of the batch whose forward made it.
        offset: where the file holds it; None while the file holds no current copy.
        is_empty: whether its bytes are only in the file.
    """

    storage: "weakref.ref[torch.UntypedStorage]"
    size: int
    owner: int
    offset: int | None = None
    is_empty: bool = False


class LimitedMemory(Memory):
    """The memory of paused forwards, up to a limit; the rest is in a file.

    The forwards that will resume last are moved first.

    Attributes:
        limit: bytes of live activations. More are held only where one batch alone has more.
        peak: the most bytes that were held.
    """

    def __init__(self, limit: int) -> None:
        """Allow `limit` bytes."""
        self.limit = limit
        self.peak = 0
        self._pages: dict[int, _Page] = {}
        self._resident = self._largest = self._clock = 0
        self._paused: dict[int, int] = {}  # batch to the time of its last pause
        self._owner: int | None = None
        self._file: SwapFile
        self._observer = _StorageObserver(self)

    def __enter__(self) -> "LimitedMemory":
        """Open the file, and observe operators."""
        self._file = SwapFile()
        self._observer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Bring back all tensors that are still alive, and close the file."""
        self._observer.__exit__(*error)
        held = self.peak
        try:
            for page in list(self._pages.values()):
                self._fill(page)
        finally:
            self.peak = held
            self._pages.clear()
            self._file.close()

    def adopt(self, batch: Batch) -> Batch:
        """Return a copy of the batch: the user's own tensors must not be moved."""
        with self.running(batch.index):
            value = pytree.tree_map_only(Tensor, torch.clone, batch.value)
        return replace(batch, value=value)

    @contextmanager
    def running(self, owner: int) -> Iterator[None]:
        """Keep all activations of batch `owner` in memory while its forward runs on."""
        self._owner = owner
        moved = [page for page in self._pages.values() if page.owner == owner and page.is_empty]
        self.make_room(sum(page.size for page in moved))
        for page in moved:
            self._fill(page)
        try:
            yield
        finally:
            self._owner = None
            self._clock += 1
            self._paused[owner] = self._clock
            self.make_room()

    def summary(self) -> str:
        """Return how much was held at most, and how much was moved."""
        written = self._file.written / 1e6
        peak = f"live activations: at most {self.peak / 1e6:.0f} MB of {self.limit / 1e6:.0f} MB"
        return f"{peak} allowed; {written:.0f} MB were moved to a file and back"

    def register(self, storage: torch.UntypedStorage) -> None:
        """Count a storage that an operator made."""
        key, size = identity_of(storage), storage.nbytes()
        if key in self._pages or size < _SMALL or self._owner is None:
            return
        self._pages[key] = _Page(weakref.ref(storage, self._forget(key)), size, self._owner)
        self._count(size)

    def ensure_resident(self, storage: torch.UntypedStorage, *, changes: bool) -> None:
        """Bring back a storage that an operator is going to read, or change."""
        page = self._pages.get(identity_of(storage))
        if page is not None:
            self._fill(page)
            if changes:
                self._release(page)

    def make_room(self, coming: int = 0) -> None:
        """Move storages to the file: first those of the batch that ran last, which resumes last.

        Args:
            coming: how many more bytes will be held soon, not counting one more output.
        """
        allowed = self.limit - coming - self._largest
        if self._resident <= allowed:
            return
        pages = [p for p in self._pages.values() if not p.is_empty and p.owner != self._owner]
        for page in sorted(pages, key=lambda p: self._paused.get(p.owner, 0), reverse=True):
            if self._resident <= allowed:
                return
            self._empty(page)

    def _empty(self, page: _Page) -> None:
        """Move a page to the file."""
        storage = page.storage()
        if storage is None or not storage.resizable():  # numpy may look at it by now
            return
        if page.offset is None:
            page.offset = self._file.put(storage)
        storage.resize_(0)
        page.is_empty = True
        self._count(-page.size)

    def _fill(self, page: _Page) -> None:
        """Bring a page back from the file."""
        storage = page.storage()
        if storage is None or not page.is_empty:
            return
        assert page.offset is not None
        storage.resize_(page.size)
        self._file.get(storage, page.offset)
        page.is_empty = False
        self._count(page.size)

    def _release(self, page: _Page) -> None:
        """Free a page's space in the file, whose copy is outdated."""
        if page.offset is not None:
            self._file.release(page.size, page.offset)
            page.offset = None

    def _forget(self, key: int) -> Callable[[object], None]:
        """Return the callback that forgets a page when its storage is freed."""

        def forget(_: object) -> None:
            page = self._pages.pop(key, None)
            if page is not None:
                self._release(page)
                self._count(0 if page.is_empty else -page.size)

        return forget

    def _count(self, size: int) -> None:
        """Count bytes that were added to memory, or removed."""
        self._resident += size
        self._largest = max(self._largest, size)
        self.peak = max(self.peak, self._resident)


class _StorageObserver(OperatorObserver):
    """Tells the memory of every operator's inputs and outputs."""

    def __init__(self, memory: LimitedMemory) -> None:
        self.memory = memory

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        changes = changes_its_inputs(operator)
        inputs = _storages((args, kwargs))
        for storage in inputs.values():
            self.memory.ensure_resident(storage, changes=changes)
        result = super().run_operator(operator, args, kwargs)
        # Only new storages: a view of a parameter was not made by the forward.
        for key, storage in _storages(result).items():
            if key not in inputs:
                self.memory.register(storage)
        self.memory.make_room()
        return result


def _storages(tree: Any) -> dict[int, torch.UntypedStorage]:
    """Return the storages of the tensors in ordinary memory, by their identity."""
    leaves = (leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor))
    plain = (t for t in leaves if t.layout is torch.strided and t.device.type == "cpu")
    storages = (tensor.untyped_storage() for tensor in plain)
    return {identity_of(storage): storage for storage in storages}

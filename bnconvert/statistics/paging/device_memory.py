"""The activations on one device, up to a limit: what exceeds it waits in another place.

A tensor's storage is emptied in place and filled again in place, so that all references to it stay
valid.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from bnconvert.statistics.paging.swap_space import SwapSpace
from bnconvert.torch_private.storages import identity_of

_SMALL = 4096  # bytes; smaller tensors are not worth moving


@dataclass(eq=False)
class _Page:
    """A tensor's storage that may be moved.

    Attributes:
        storage: weakly, the storage.
        size: its bytes.
        owner: the index of the batch whose forward made it.
        copy: under which number the space holds it; None while it holds no current copy.
        is_empty: whether its bytes are only in the space.
    """

    storage: "weakref.ref[torch.UntypedStorage]"
    size: int
    owner: int
    copy: int | None = None
    is_empty: bool = False


class DeviceMemory:
    """The storages that forwards made on one device.

    Attributes:
        limit: bytes of live activations. More are held only where one batch alone has more.
        peak: the most bytes that were held.
        space: where the rest waits.
    """

    def __init__(self, limit: int, space: SwapSpace) -> None:
        """Allow `limit` bytes; move the rest to `space`."""
        self.limit, self.space = limit, space
        self.peak = 0
        self._pages: dict[int, _Page] = {}
        self._resident = self._largest = 0

    def register(self, storage: torch.UntypedStorage, owner: int) -> None:
        """Count a storage that the forward of batch `owner` made."""
        key, size = identity_of(storage), storage.nbytes()
        if key not in self._pages and size >= _SMALL:
            self._pages[key] = _Page(weakref.ref(storage, self._forget(key)), size, owner)
            self._count(size)

    def ensure_resident(self, storage: torch.UntypedStorage, *, changes: bool) -> None:
        """Bring back a storage that an operator is going to read, or change."""
        page = self._pages.get(identity_of(storage))
        if page is not None:
            self._fill(page)
            if changes:
                self._release(page)

    def bring_back(self, owner: int, paused: Mapping[int, int]) -> None:
        """Bring back all storages of batch `owner`, whose forward runs on."""
        moved = [page for page in self._pages.values() if page.owner == owner and page.is_empty]
        self.make_room(owner, paused, sum(page.size for page in moved))
        for page in moved:
            self._fill(page)

    def make_room(self, owner: int | None, paused: Mapping[int, int], coming: int = 0) -> None:
        """Move storages away: first those of the batch that ran last, which resumes last.

        Args:
            owner: the batch whose forward runs, and which keeps all of its own; None for none.
            paused: batch to the time of its last pause.
            coming: how many more bytes will be held soon, not counting one more output.
        """
        allowed = self.limit - coming - self._largest
        if self._resident <= allowed:
            return
        pages = [p for p in self._pages.values() if not p.is_empty and p.owner != owner]
        for page in sorted(pages, key=lambda p: paused.get(p.owner, 0), reverse=True):
            if self._resident <= allowed:
                return
            self._empty(page)

    def close(self) -> None:
        """Bring back all storages that are still alive, and close the space."""
        held = self.peak
        try:
            for page in list(self._pages.values()):
                self._fill(page)
        finally:
            self.peak = held
            self._pages.clear()
            self.space.close()

    def _empty(self, page: _Page) -> None:
        """Move a page away."""
        storage = page.storage()
        if storage is None or not storage.resizable():  # numpy may look at it by now
            return
        if page.copy is None:
            page.copy = self.space.put(storage)
        storage.resize_(0)
        page.is_empty = True
        self._count(-page.size)

    def _fill(self, page: _Page) -> None:
        """Bring a page back."""
        storage = page.storage()
        if storage is None or not page.is_empty:
            return
        assert page.copy is not None
        storage.resize_(page.size)
        self.space.get(storage, page.copy)
        page.is_empty = False
        self._count(page.size)

    def _release(self, page: _Page) -> None:
        """Let go of a page's copy, which is outdated."""
        if page.copy is not None:
            self.space.release(page.size, page.copy)
            page.copy = None

    def _forget(self, key: int) -> Callable[[object], None]:
        """Return the callback that forgets a page when its storage is freed."""

        def forget(_: object) -> None:
            page = self._pages.pop(key, None)
            if page is not None:
                self._release(page)
                self._count(0 if page.is_empty else -page.size)

        return forget

    def _count(self, size: int) -> None:
        """Count bytes that were added, or removed."""
        self._resident += size
        self._largest = max(self._largest, size)
        self.peak = max(self.peak, self._resident)

"""Main memory for the bytes of storages that lie on an accelerator; page-locked where possible."""

from typing import ClassVar

import torch

from bnconvert.errors import StatisticsError


class SwapMemory:
    """Copies of storages in main memory.

    Page-locked ("pinned") memory is copied from and to an accelerator at the full speed of the
    bus; torch keeps what is released of it, and gives it out again.

    Attributes:
        name: what a user calls it.
        written: how many bytes were copied into it, in all.
    """

    name: ClassVar[str] = "main memory"

    def __init__(self) -> None:
        """Begin empty."""
        self._held: dict[int, torch.UntypedStorage] = {}
        self._next = 0
        self._is_pinned = torch.accelerator.is_available()
        self.written = 0

    def put(self, storage: torch.UntypedStorage) -> int:
        """Copy all bytes of `storage`; return under which number.

        Raises:
            StatisticsError: main memory is full, or as much of it as may be pinned.
        """
        size = storage.nbytes()
        try:
            copy = torch.empty(
                size, dtype=torch.uint8, device="cpu", pin_memory=self._is_pinned
            ).untyped_storage()
        except RuntimeError as failure:
            held = sum(kept.nbytes() for kept in self._held.values())
            raise StatisticsError(
                f"main memory has no room for {size / 1e6:.0f} MB of the activations beyond "
                f"memory_limit, and holds {held / 1e6:.0f} MB of them; raise memory_limit, or "
                "give fewer samples (max_samples=)"
            ) from failure
        # Blocking: when this returns the bytes are there, for a copy back on another stream too.
        copy.copy_(storage, non_blocking=False)
        self._held[self._next] = copy
        self._next += 1
        self.written += size
        return self._next - 1

    def get(self, storage: torch.UntypedStorage, number: int) -> None:
        """Fill `storage` with the bytes that `put` copied."""
        storage.copy_(self._held[number], non_blocking=False)

    def release(self, size: int, number: int) -> None:
        """Let go of a copy."""
        del self._held[number]

    def close(self) -> None:
        """Let go of all copies."""
        self._held.clear()

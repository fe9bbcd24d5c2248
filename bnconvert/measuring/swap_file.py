"""A temporary file that holds the bytes of storages, and reuses the places that are free again."""

import ctypes
import os
import tempfile
from collections.abc import Callable
from typing import Any

import torch


class SwapFile:
    """The file; it has no name and is gone with the process.

    Attributes:
        written: how many bytes went into it.
    """

    def __init__(self) -> None:
        """Open it."""
        self._file: Any = tempfile.TemporaryFile(prefix="bnconvert-", buffering=0)  # noqa: SIM115
        self._free: dict[int, list[int]] = {}
        self._end = 0
        self.written = 0

    def put(self, storage: torch.UntypedStorage) -> int:
        """Write all bytes of `storage`; return where they are."""
        size = storage.nbytes()
        free = self._free.get(size)
        place = free.pop() if free else self._end
        self._end = max(self._end, place + size)
        self._move(os.pwrite, storage, place)
        self.written += size
        return place

    def get(self, storage: torch.UntypedStorage, place: int) -> None:
        """Fill `storage` with the bytes that `put` wrote at `place`."""
        self._move(_pread, storage, place)

    def release(self, size: int, place: int) -> None:
        """Let others write at `place`."""
        self._free.setdefault(size, []).append(place)

    def close(self) -> None:
        """Close it; its bytes are gone."""
        self._file.close()

    def _move(
        self, move: Callable[[int, Any, int], int], storage: torch.UntypedStorage, place: int
    ) -> None:
        # Not by way of a tensor: making one would be an operator, and those are watched.
        size = storage.nbytes()
        buffer = memoryview((ctypes.c_ubyte * size).from_address(storage.data_ptr())).cast("B")
        while buffer:  # the system may move fewer bytes at once
            moved = move(self._file.fileno(), buffer, place)
            if not moved:
                raise OSError("the file of moved activations ended early")
            buffer, place = buffer[moved:], place + moved


def _pread(file: int, buffer: memoryview, place: int) -> int:
    return os.preadv(file, [buffer], place)

"""A temporary file for the bytes of tensor storages; released space in it is used again."""

import ctypes
import os
import tempfile
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from bnconvert.errors import StatisticsError


class SwapFile:
    """A temporary file without a name, which the system deletes when the process ends.

    Attributes:
        name: what a user calls it.
        written: how many bytes were written into it, in all.
    """

    name: ClassVar[str] = "a file"

    def __init__(self) -> None:
        """Open it."""
        self._file: Any = tempfile.TemporaryFile(prefix="bnconvert-", buffering=0)  # noqa: SIM115
        self._free: dict[int, list[int]] = {}
        self._end = 0
        self.written = 0

    def put(self, storage: torch.UntypedStorage) -> int:
        """Write all bytes of `storage`; return their offset.

        Raises:
            StatisticsError: the disk is full.
        """
        size = storage.nbytes()
        free = self._free.get(size)
        offset = free.pop() if free else self._end
        self._end = max(self._end, offset + size)
        try:
            self._move(os.pwrite, storage, offset)
        except OSError as failure:
            raise StatisticsError(
                f"{tempfile.gettempdir()}: the activations beyond memory_limit cannot be written "
                f"there ({failure.strerror}); free some space, set TMPDIR to another folder, or "
                "raise memory_limit"
            ) from failure
        self.written += size
        return offset

    def get(self, storage: torch.UntypedStorage, offset: int) -> None:
        """Fill `storage` with the bytes that `put` wrote at `offset`."""
        self._move(_pread, storage, offset)

    def release(self, size: int, offset: int) -> None:
        """Free `size` bytes at `offset` for other storages."""
        self._free.setdefault(size, []).append(offset)

    def close(self) -> None:
        """Close the file, which deletes it."""
        self._file.close()

    def _move(
        self, move: Callable[[int, Any, int], int], storage: torch.UntypedStorage, offset: int
    ) -> None:
        """Read or write all bytes of a storage at an offset of the file."""
        # Not through a tensor: making one would be an operator, and those are observed.
        size = storage.nbytes()
        buffer = memoryview((ctypes.c_ubyte * size).from_address(storage.data_ptr())).cast("B")
        while buffer:  # the system may move fewer bytes at once
            moved = move(self._file.fileno(), buffer, offset)
            if not moved:
                raise OSError("the file of moved activations ended early")
            buffer, offset = buffer[moved:], offset + moved


def _pread(file: int, buffer: memoryview, offset: int) -> int:
    return os.preadv(file, [buffer], offset)

"""Where the bytes of activations wait that a device shall not hold: a file, or main memory."""

from typing import ClassVar, Protocol

import torch

from bnconvert.statistics.paging.swap_file import SwapFile
from bnconvert.statistics.paging.swap_memory import SwapMemory


class SwapSpace(Protocol):
    """A place for the bytes of tensor storages.

    Attributes:
        name: what a user calls it.
        written: how many bytes were moved into it, in all.
    """

    name: ClassVar[str]
    written: int

    def put(self, storage: torch.UntypedStorage) -> int:
        """Keep all bytes of `storage`; return under which number."""

    def get(self, storage: torch.UntypedStorage, number: int) -> None:
        """Fill `storage` with the bytes that `put` keeps under `number`."""

    def release(self, size: int, number: int) -> None:
        """Let go of the `size` bytes under `number`."""

    def close(self) -> None:
        """Let go of all bytes."""


def swap_space_for(device: torch.device) -> type[SwapSpace]:
    """Return where what exceeds the limit on `device` is moved: a file, for main memory itself."""
    return SwapFile if device.type == "cpu" else SwapMemory


def can_be_emptied(device: torch.device) -> bool:
    """Tell whether torch can empty a storage on `device` in place, and fill it again."""
    try:
        storage = torch.empty(1, device=device).untyped_storage()
        storage.resize_(0)
        storage.resize_(4)
    except RuntimeError:
        return False
    return True

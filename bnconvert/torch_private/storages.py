"""Which memory a tensor lies in: a storage's identity, and a reference that does not keep it.

Stands in for a public identity of storages: `data_ptr` is 0 for all that are empty, and
`untyped_storage()` returns another Python object for the same one once the first is gone. Known
to work since torch 2.10.
"""

from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

#: torch 2.13 gives it no types.
_weak_reference: Any = StorageWeakRef


def identity_of(storage: torch.UntypedStorage) -> int:
    """Return a number that is the same for the same memory, as long as that lives."""
    return int(storage._cdata)


class StorageReference:
    """Refers to memory without keeping it; while the reference lives, no other gets its identity.

    Attributes:
        identity: as `identity_of` returns it.
    """

    def __init__(self, storage: torch.UntypedStorage) -> None:
        """Refer to a storage."""
        self._reference = _weak_reference(storage)
        self.identity = int(self._reference.cdata)

    def is_alive(self) -> bool:
        """Tell whether anybody else still has the memory."""
        return not self._reference.expired()

"""Read a user's loader as if nobody had: an iteration that is under way goes on where it was.

A loader with persistent workers has one iterator, which the next `iter(loader)` starts anew: a
training that is measured in the middle of an epoch would lose the rest of it. Accelerate's loaders
remember that their end was reached, which decides when gradients are synchronized. And each
reading draws from the generator of the loader, so that a training would see other batches than
without.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from bnconvert.modules.surgery import instances_in

_READ = (DataLoader, Sampler, torch.Generator)
#: What accelerate calls, in all loaders of a process, those that are being iterated.
_ITERATED = "dataloader_references"


@contextmanager
def undisturbed(batches: object) -> Iterator[None]:
    """Read loaders inside of this context, each from its start; they are as before at its end.

    Args:
        batches: a loader, or an object that holds some in its attributes; anything else is read
            as ever.
    """
    kept = [_Kept(value) for value in _parts_of(batches)]
    try:
        for part in kept:
            part.prepare()
        yield
    finally:
        for part in kept:
            part.restore()


class _Kept:
    """A loader, a sampler or a generator, and what it was."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.random = value.get_state() if isinstance(value, torch.Generator) else None
        self.attributes = {} if self.random is not None else dict(vars(value))
        self.iterated = getattr(self.attributes.get("gradient_state"), _ITERATED, None)

    def prepare(self) -> None:
        """Let a loader make workers of its own for this reading."""
        if self.attributes.get("persistent_workers"):
            vars(self.value)["persistent_workers"] = False

    def restore(self) -> None:
        """Give everything back that it was."""
        if self.random is not None:
            self.value.set_state(self.random)
            return
        vars(self.value).clear()
        vars(self.value).update(self.attributes)
        if self.iterated is not None:
            setattr(self.attributes["gradient_state"], _ITERATED, self.iterated)


def _parts_of(batches: object) -> list[Any]:
    """Return the loaders in `batches`, with their samplers and generators, each once."""
    found: dict[int, Any] = {}
    pending: list[Any] = [*instances_in(batches, (DataLoader,))]
    for held in _attributes(batches):
        pending.extend(instances_in(held, (DataLoader,)))
    while pending:
        value = pending.pop()
        if id(value) not in found:
            found[id(value)] = value
            pending.extend(held for held in _attributes(value) if isinstance(held, _READ))
    return list(found.values())


def _attributes(value: object) -> list[Any]:
    return [*getattr(value, "__dict__", {}).values()]

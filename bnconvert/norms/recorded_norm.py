"""A norm whose checkpointed forward is recomputed with what it used, though that changed since."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from torch import Tensor

from bnconvert.modules.tracking import TrackingNorm


class RecordedNorm(TrackingNorm):
    """Batch norm by tensors beside the batch, which `checkpoint_contexts` records.

    Attributes:
        record: in a checkpointed forward, the tensors of each call so far; else None.
        replay: in its recomputation, the tensors of each call still to come; else None.
    """

    added_names: ClassVar[tuple[str, ...]] = ("record", "replay")

    record: list[tuple[Tensor, ...]] | None = None
    replay: Iterator[tuple[Tensor, ...]] | None = None

    def start_recording(self) -> dict[str, Any]:
        """Record the tensors of each call, and return them."""
        self.record = []
        return {**super().start_recording(), "replay": self.record}

    def stop_recording(self) -> None:
        """End the record."""
        super().stop_recording()
        self.record = None

    @contextmanager
    def replaying(self, recorded: Mapping[str, Any]) -> Iterator[None]:
        """Replay the record from its start."""
        with super().replaying({**recorded, "replay": iter(recorded["replay"])}):
            yield

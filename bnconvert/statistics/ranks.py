"""The ranks that measure one model together, each on its share of the data."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from torch import distributed as dist

from bnconvert.errors import StatisticsError

Value = TypeVar("Value")


class Ranks:
    """The processes of a group; or this one alone.

    Every rank must call `gather` equally often. A rank that fails announces it instead, so that
    the others raise and do not wait for it.

    Attributes:
        are_several: whether there is any other rank.
    """

    def __init__(self, group: Any) -> None:
        """Join `group`, a process group or None. Any: torch.distributed may be missing.

        Raises:
            StatisticsError: this process is not in the group.
        """
        if group is not None and dist.get_rank(group) < 0:
            raise StatisticsError(
                "this rank is not in the process group; call it on the ranks of the group only"
            )
        self.are_several = group is not None and dist.get_world_size(group) > 1
        self._group = group if self.are_several else None
        self._is_lost = False

    def gather(self, value: Value) -> list[Value]:
        """Return the value of every rank, in the order of the ranks.

        Raises:
            StatisticsError: another rank has failed, or was lost.
        """
        if self._group is None:
            return [value]
        replies = self._exchange((None, value))
        failures = {rank: failure for rank, (failure, _) in enumerate(replies) if failure}
        if failures:
            self._is_lost = True
            reasons = "; ".join(f"rank {rank} failed: {why}" for rank, why in failures.items())
            raise StatisticsError(f"{reasons}; fix that and run all ranks again")
        return [value for _, value in replies]

    def require_same(self, facts: Mapping[str, object]) -> None:
        """Raise, on all ranks, unless all of them have the same facts.

        Raises:
            StatisticsError: it names what differs, and the ranks.
        """
        first, *others = self.gather(facts)
        for name, value in first.items():
            differing = [str(rank) for rank, other in enumerate(others, 1) if other[name] != value]
            if differing:
                raise StatisticsError(
                    f"rank {', '.join(differing)}: other {name} than on rank 0; give all ranks the "
                    "same model, with the same weights, and the same arguments"
                )

    @contextmanager
    def announcing_failures(self) -> Iterator[None]:
        """Announce whatever is raised inside of this context."""
        try:
            yield
        except BaseException as failure:
            self.announce(failure)
            raise

    def announce(self, failure: BaseException) -> None:
        """Make the other ranks raise in their next `gather`: this one cannot go on."""
        if self._group is not None and not self._is_lost:
            with suppress(StatisticsError):
                self._exchange((f"{type(failure).__name__}: {failure}", None))

    def _exchange(self, message: tuple[str | None, Any]) -> list[tuple[str | None, Any]]:
        """Return the messages of all ranks, this one's included."""
        replies: list[Any] = [None] * dist.get_world_size(self._group)
        try:
            dist.all_gather_object(replies, message, group=self._group)
        except RuntimeError as failure:
            self._is_lost = True
            reason = str(failure).strip().splitlines()[0]
            raise StatisticsError(
                f"another rank died, or took longer than the group's timeout ({reason}); start "
                "all ranks again"
            ) from failure
        return replies


def all_ranks() -> Any:
    """Return the process group of all ranks, or None where there is only this process."""
    return dist.group.WORLD if dist.is_available() and dist.is_initialized() else None

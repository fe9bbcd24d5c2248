"""The order in which forwards reach sets of statistics, as far as it has been observed."""

import itertools
from collections.abc import Iterable, Sequence


class ReachOrder:
    """The order in which batches reach targets; observed, never assumed.

    Targets are indices. Two of which each was reached before the other, or one that a forward
    reaches twice, are *inseparable*: the statistics of neither can be final before the other is
    measured.
    """

    def __init__(self) -> None:
        """Start without any observation."""
        self._successors: dict[int, set[int]] = {}

    def learn(self, sequences: Iterable[Sequence[int]]) -> bool:
        """Note in which order forwards reached targets; tell whether any of it was new."""
        new = False
        for sequence in sequences:
            for first, second in itertools.pairwise(sequence):
                following = self._successors.setdefault(first, set())
                new |= second not in following
                following.add(second)
        return new

    def precedes(self, first: int, second: int) -> bool:
        """Tell whether `first` was reached before `second`, directly or through others."""
        return second in self._reachable(first)

    def inseparable(self) -> frozenset[int]:
        """Return the targets that come before themselves."""
        return frozenset(target for target in self._successors if self.precedes(target, target))

    def next_to_finish(self, waiting: Iterable[int]) -> int:
        """Return the target to finish first: no other waiting target is known to precede it.

        Of several such, it is the first in the module tree, in whose order modules mostly run.
        """
        targets = sorted(waiting)
        free = [t for t in targets if not any(self.precedes(o, t) for o in targets if o != t)]
        return (free or targets)[0]

    def _reachable(self, start: int) -> set[int]:
        """Return all targets that were reached after `start`, directly or through others."""
        found: set[int] = set()
        frontier = set(self._successors.get(start, ()))
        while frontier:
            found |= frontier
            following = (self._successors.get(target, set()) for target in frontier)
            frontier = set().union(*following) - found
        return found

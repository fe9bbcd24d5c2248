"""In which order forwards reach the targets, as far as it has been seen."""

import itertools
from collections.abc import Iterable, Sequence


class ReachOrder:
    """Which target was reached before which, by any batch; learned, never assumed.

    Two targets of which each was reached before the other, or one that a forward reaches twice, are
    *inseparable*: none of their statistics can be final before the other is measured.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._after: dict[int, set[int]] = {}

    def learn(self, sequences: Iterable[Sequence[int]]) -> bool:
        """Take note of what forwards reached, one after another; tell whether any was new."""
        new = False
        for sequence in sequences:
            for first, second in itertools.pairwise(sequence):
                following = self._after.setdefault(first, set())
                new |= second not in following
                following.add(second)
        return new

    def precedes(self, first: int, second: int) -> bool:
        """Tell whether `first` was reached before `second`, directly or by way of others."""
        return second in self._reachable(first)

    def inseparable(self) -> frozenset[int]:
        """Return the targets that come before themselves."""
        return frozenset(target for target in self._after if self.precedes(target, target))

    def first(self, waiting: Iterable[int]) -> int:
        """Choose the target to finish next: none of the others can still lead to it.

        Among several the first in the model's own order, which modules mostly run in.
        """
        targets = sorted(waiting)
        free = [s for s in targets if not any(self.precedes(t, s) for t in targets if t != s)]
        return (free or targets)[0]

    def _reachable(self, start: int) -> set[int]:
        found: set[int] = set()
        front = set(self._after.get(start, ()))
        while front:
            found |= front
            front = {n for target in front for n in self._after.get(target, ())} - found
        return found

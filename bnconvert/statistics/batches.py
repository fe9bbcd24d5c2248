"""Read the user's batches, and run a model on one."""

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.errors import StatisticsError
from bnconvert.torch_private.tensor_versions import version_of

#: score(output, batch) returns a loss or an error, the smaller the better: a number, or one value
#: for each sample.
ScoreFunction = Callable[[Any, Any], Any]


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch of the user's iterable, numbered.

    Attributes:
        index: its place in the iterable.
        value: what the iterable gave.
        seen: how many samples the batches before it had, as far as that is known.
        arrivals: the length of the first axis of its values at each norm, as they arrive there.
    """

    index: int
    value: Any
    seen: int
    arrivals: list[int] = field(default_factory=list)

    def note_arrival(self, target: object, x: Tensor) -> None:
        """Note how many rows of values arrive at a norm."""
        self.arrivals.append(x.shape[0])

    def versions(self) -> list[int | None]:
        """Return torch's version counter of each tensor, which counts in-place changes."""
        return [version_of(tensor) for tensor in tensors_of(self.value)]

    def samples(self) -> int | None:
        """Return how many samples it has; None where that cannot be told.

        Its tensors tell where they agree; where they do not, what arrived at the first norm, and
        where nothing did, the longest.
        """
        lengths = {tensor.shape[0] for tensor in tensors_of(self.value)}
        if not self.arrivals:
            return max(lengths, default=None)
        plausible = lengths | _lengths_of_lists(self.value)
        if len(lengths) == 1 and self.arrivals[0] not in plausible:
            return lengths.pop()  # its axes were joined on the way, as images and patches are
        return self.arrivals[0]


class BatchReader:
    """The user's batches, read one by one and counted.

    Attributes:
        empty: the indices of batches without a single value, which are left out.
    """

    def __init__(self, batches: Iterable[Any], max_samples: int | None) -> None:
        """Prepare to read whole batches until `max_samples` samples were read.

        Raises:
            StatisticsError: `batches` is not an iterable of batches, or is known never to end.
        """
        wrong = isinstance(batches, Tensor | nn.Module | str | Mapping)
        if wrong or not isinstance(batches, Iterable):
            raise StatisticsError(
                f"batches is a {type(batches).__name__}; give an iterable of batches, such as a "
                "DataLoader or images.split(32)"
            )
        if max_samples is not None and max_samples < 1:
            raise StatisticsError(f"max_samples is {max_samples}; give a positive number, or None")
        if max_samples is None and is_endless(batches):
            raise StatisticsError(
                f"batches never ends (itertools.{type(batches).__name__}); give as many batches as "
                "you want: itertools.islice(batches, 100)"
            )
        self._batches, self._max = batches, max_samples
        self.empty: list[int] = []

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches; each is counted when the next is asked for.

        Raises:
            StatisticsError: there is a `max_samples`, and a batch does not tell how many it has.
        """
        seen = 0
        for index, value in enumerate(self._batches):
            tensors = tensors_of(value)
            if tensors and not any(tensor.numel() for tensor in tensors):
                self.empty.append(index)
                continue
            batch = Batch(index, value, seen)
            yield batch
            samples = batch.samples()
            if samples is None and self._max is not None:
                raise StatisticsError(
                    f"batch {index}: a {type(value).__name__} does not tell how many samples it "
                    "has, and max_samples counts them; leave max_samples out, and give as many "
                    "batches as you want (itertools.islice(batches, 100))"
                )
            seen += samples or 0
            if self._max is not None and seen >= self._max:
                return


def is_endless(batches: Iterable[Any]) -> bool:
    """Tell whether an iterable is known never to end; of a generator that is not known."""
    if isinstance(batches, itertools.repeat):
        return operator.length_hint(batches, -1) == -1
    return isinstance(batches, itertools.cycle | itertools.count)


def _lengths_of_lists(value: Any) -> set[int]:
    """Return the lengths of a batch, or its first element, that is a list of samples."""
    first = value[0] if isinstance(value, tuple | list) and value else None
    return {len(held) for held in (value, first) if isinstance(held, tuple | list)}


def tensors_of(value: Any) -> list[Tensor]:
    """Return all tensors in a batch, nested ones too, except those without axes."""
    leaves = pytree.tree_leaves(dict(value) if isinstance(value, Mapping) else value)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()]

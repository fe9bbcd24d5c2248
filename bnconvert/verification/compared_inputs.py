"""The inputs that a file is compared on, and the model's answers to them.

They are the given rows and others like them, in several batch sizes; the same in other sizes of
every axis that the file declares dynamic; and stronger inputs where an output hides otherwise.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from bnconvert.errors import ExportError
from bnconvert.graphs.example import Example
from bnconvert.verification.cases import Case, Pool, stronger
from bnconvert.verification.evidence import hidden_outputs
from bnconvert.verification.files.onnx_runner import ONNX_RUNTIME, Feed
from bnconvert.verification.files.onnx_runtime import Runtime
from bnconvert.verification.raw_inputs import RawInput
from bnconvert.verification.references.reference import SEED
from bnconvert.verification.sizes import Resized, free_axes, resized, were_apart
from bnconvert.verification.tolerance import Answers


@dataclass(frozen=True, eq=False)
class Claim:
    """What is said about a file beforehand, which the comparison takes into account.

    Attributes:
        holds: tells whether the file is made for inputs of such sizes.
        allow_nonfinite: the outputs that may be NaN or infinite in the model itself.
        raw: which inputs the file normalizes and the model does not: the judge does it itself.
        tolerance: the relative root mean square error that is allowed instead of a measured one.
        runtime: what runs the file.
        agreement: the share of the given rows that must have the same best class.
    """

    holds: Callable[[Example], bool] = lambda example: True
    allow_nonfinite: Collection[str] = ()
    raw: Sequence[RawInput] = ()
    tolerance: float | None = None
    agreement: float | None = None
    runtime: Runtime = ONNX_RUNTIME

    @property
    def is_measured(self) -> bool:
        """Whether nothing but the model's own error says how far off the file may be."""
        return self.tolerance is None and self.agreement is None

    def __post_init__(self) -> None:
        """Take one name for a list of one, and refuse limits that are none.

        Raises:
            ExportError: `tolerance` is negative or no number, or `agreement` is no share.
        """
        if isinstance(self.allow_nonfinite, str):  # of which every part of the name is one too
            object.__setattr__(self, "allow_nonfinite", (self.allow_nonfinite,))
        if self.tolerance is not None and not self.tolerance >= 0:
            raise ExportError(f"tolerance={self.tolerance}: is no error; give one from 0, as 0.05")
        if self.agreement is not None and not 0 <= self.agreement <= 1:
            raise ExportError(f"agreement={self.agreement}: is no share; give one of 0 to 1")


class Answering(Protocol):
    """What knows the right answers: a model, or a file."""

    def answers_to(self, pool: Pool) -> dict[Case, Answers]:
        """Return the answers to each case that it takes; ExportError where it takes none."""

    def answers_at_once(self, pool: Pool) -> dict[Case, Answers] | None:
        """Return the answers to all cases from one batch, where rows are independent there."""

    def answers_in_part(self, pool: Pool) -> dict[Case, Answers] | None:
        """Return the answers with few rows in float64, where others may stand in for the rest."""

    def answers(self, example: Example) -> Answers:
        """Return the answers to an input; any error says that it does not take it."""

    def note(self, sentence: str) -> None:
        """Note, once, what could not be done as usual."""


class ComparedInputs:
    """The inputs to compare on.

    Attributes:
        axes_apart: whether any two axes that may have any size had different ones.
    """

    def __init__(
        self,
        reference: Answering,
        feed: Feed,
        shapes: Mapping[str, list[int | str | None]],
        claim: Claim,
    ) -> None:
        """Take what decides about them.

        Args:
            reference: the model, or the file that is right.
            feed: the given inputs as the file takes them.
            shapes: of the file's inputs, with symbols for dynamic axes.
            claim: for which sizes the file is made.
        """
        self._reference, self._feed, self._shapes, self._claim = reference, feed, shapes, claim
        self.axes_apart = True

    def answers(self, example: Example, *, at_once: bool) -> dict[Case, Answers]:
        """Run the model on all of them.

        Args:
            example: the given inputs.
            at_once: whether a row may be computed together with the others.

        Raises:
            ExportError: the model does not run on the given inputs.
        """
        self.size = self._batch_size(example)
        self._pool = Pool.of(example, self.size, _generator())
        found = self._answers_to_pool(example, at_once)
        found |= self._answers_at_other_sizes()
        return found | self._answers_to_stronger(found)

    @property
    def given(self) -> Example:
        """The given inputs, in a batch that the file takes."""
        return self._pool.cases[0].example

    @property
    def few_rows(self) -> Example:
        """Few rows in one batch, given and generated ones."""
        return self._pool.few_rows

    def _batch_size(self, example: Example) -> int | None:
        """Return the file's fixed batch size, or None where it may have any."""
        fed = self._feed.tensors.items()
        first = [self._shapes[name][0] for name, t in fed if example.is_batched(t)]
        return next((size for size in first if isinstance(size, int)), None)

    def _answers_to_pool(self, example: Example, at_once: bool) -> dict[Case, Answers]:
        """Run the model on the given rows and others like them, in batches of several sizes."""
        holding = tuple(case for case in self._pool.cases if self._claim.holds(case.example))
        self._holding = pool = replace(self._pool, cases=holding or self._pool.cases[:1])
        known = None
        if pool.size and self.size != example.batch and at_once:
            if pool.is_large and self._claim.is_measured:
                known = self._reference.answers_in_part(pool)
            known = known or self._reference.answers_at_once(pool)
        return known or self._reference.answers_to(pool)

    def complete_answers(self) -> dict[Case, Answers]:
        """Return the answers to the given rows and others like them, all of them in float64."""
        pool = self._holding
        return self._reference.answers_at_once(pool) or self._reference.answers_to(pool)

    def _answers_at_other_sizes(self) -> dict[Case, Answers]:
        """Run the model on inputs whose dynamic axes have other sizes than the given ones."""
        few = self._pool.few_rows
        tensors = few.tensors()
        shapes: list[list[int | str | None]] = [[*tensor.shape] for tensor in tensors]
        for name, place in self._feed.given.items():
            shapes[place] = self._shapes[name]
        batched = [i for i, tensor in enumerate(tensors) if few.is_batched(tensor)]
        axes = free_axes(shapes, tensors, batched)
        computed: dict[Example, Answers] = {}

        def takes(other: Example) -> bool:
            if self._claim.holds(other):
                with contextlib.suppress(Exception):  # the model does not take this size
                    computed[other] = self._reference.answers(other)
            return other in computed

        found: dict[Case, Answers] = {}
        taken: list[Resized] = []
        compared = {axis.name: {axis.given} for axis in axes}
        for other in resized(few, axes, takes) if axes else ():
            words = ", ".join(f"{name} {size}" for name, size in other.sizes.items())
            case = Case(f"given rows, {words}", other.example, (), False)
            found[case] = computed[other.example]
            taken.append(other)
            for name, size in other.sizes.items():
                compared[name].add(size)
        self.axes_apart = were_apart(axes, taken)
        for name, sizes in compared.items():
            self._reference.note(f"{name}: compared at {', '.join(map(str, sorted(sizes)))}")
        return found

    def _answers_to_stronger(self, known: Mapping[Case, Answers]) -> dict[Case, Answers]:
        """Run the model on inputs far from the given ones, where an output hides otherwise."""
        found: dict[Case, Answers] = {}
        hidden = hidden_outputs(known)
        for case in stronger(self.given, _generator()) if hidden else ():
            with contextlib.suppress(Exception):  # nobody gave such an input
                more = {case: self._reference.answers(case.example)}
                still = hidden_outputs({**known, **found, **more})
                if still != hidden:
                    found, hidden = found | more, still
        return found


def _generator() -> torch.Generator:
    """Return a generator of its own for each draw, so that no draw depends on another."""
    return torch.Generator().manual_seed(SEED)

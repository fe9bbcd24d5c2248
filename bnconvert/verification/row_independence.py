"""Row independence: a row of a batch must come out the same whatever the other rows are.

A file that normalizes by the batch's own statistics fails, even where it agrees with the model.
Where the model's own rows depend on one another (time first, patches of one image, a sort over the
batch), nothing is asked of the file; but for a norm that takes its statistics from the batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from bnconvert.graphs.example import Example
from bnconvert.numerics.distance import relative_error
from bnconvert.reporting.records import Check
from bnconvert.verification.agreement import Outputs
from bnconvert.verification.cases import Case
from bnconvert.verification.references.reference import SEED
from bnconvert.verification.tolerance import Tolerance


class RowReference(Protocol):
    """What tells whether rows depend on one another: a model, or the file that is right."""

    def accepts(self, example: Example) -> bool:
        """Tell whether it runs on an input."""

    def outputs(self, example: Example) -> list[Tensor]:
        """Return what it computes; any error says that it does not run."""

    def normalizes_by_batch(self, example: Example) -> bool:
        """Tell whether a norm takes its statistics from the batch, which no file may do."""


@dataclass(eq=False)
class RowIndependence:
    """Compares the first and last row of a batch with the same rows in another batch.

    Attributes:
        names: of the file's outputs.
        reference: the model, or the file that is right.
        tolerance: returns how far apart they may be on an input.
        size: the file's batch size; None where it may have any, and a row is run alone.
        run: runs the file.
        mixed: the outputs whose rows the model itself mixes, by name; filled by `checks`.
    """

    names: Sequence[str]
    reference: RowReference
    tolerance: Callable[[Case], Tolerance]
    size: int | None
    run: Callable[[Example], Outputs]
    mixed: set[str] = field(default_factory=set)

    def checks(self, outputs: Mapping[Case, Outputs]) -> Iterator[Check]:
        """Yield a check for each output that has rows, and for both rows.

        Args:
            outputs: what the file computed, by case.
        """
        case = max(reversed([*outputs]), key=lambda case: len(case.rows))
        together, size, tolerance = outputs[case], len(case.rows), self.tolerance(case)
        if isinstance(together, str) or size < 2:
            return
        if self.size is not None and not self.reference.accepts(self._other(case, 0)):
            return
        for row in (0, size - 1):
            place, elsewhere = self._in_other_batch(case, row, outputs)
            if isinstance(elsewhere, str):
                continue
            pairs = enumerate(zip(together, elsewhere, strict=True))
            for index, (whole, single) in pairs:
                if not _has_rows(whole, size) or not _has_row(single, place):
                    continue  # no row of this output belongs to a row of the input
                if (index, "peak") not in tolerance.model_error:
                    continue
                error = relative_error(single[place], whole[row], "peak")
                allowed = tolerance.allowed(index, "peak")
                if error > allowed and self._model_mixes(case, row, index, allowed):
                    self.mixed.add(self.names[index])
                    continue
                label, name = f"row {row} of {case.name}", self.names[index]
                yield Check(label, name, "rows", error, allowed, error <= allowed)

    def _other(self, case: Case, row: int) -> Example:
        """Return the row in another batch: alone, or among others where the size is fixed."""
        if self.size is None:
            return case.example.rows([row])
        generator = torch.Generator().manual_seed(SEED)
        return case.example.with_other_rows(row, generator)

    def _in_other_batch(
        self, case: Case, row: int, outputs: Mapping[Case, Outputs]
    ) -> tuple[int, Outputs]:
        """Run a row in another batch; return its place there, and the file's outputs."""
        if self.size is not None:
            return row, self.run(self._other(case, row))
        alone = (case.rows[row],)
        known = next((got for c, got in outputs.items() if c.rows == alone), None)
        return 0, known or self.run(self._other(case, row))

    def _model_mixes(self, case: Case, row: int, index: int, allowed: float) -> bool:
        """Tell whether the model's own row depends on its batch as much, and not by a norm."""
        if self.reference.normalizes_by_batch(case.example):
            return False
        place = 0 if self.size is None else row
        try:
            whole = self.reference.outputs(case.example)[index]
            single = self.reference.outputs(self._other(case, row))[index]
        except Exception:
            return True  # what the model does not take cannot be asked of the file
        if not _has_row(whole, row) or not _has_row(single, place):
            return True
        return relative_error(single[place], whole[row], "peak") > allowed


def _has_rows(value: Tensor, count: int) -> bool:
    return value.dim() > 0 and len(value) == count


def _has_row(value: Tensor, row: int) -> bool:
    return value.dim() > 0 and len(value) > row

"""Values that a file is expected to compute, and how far off a value of the file may be.

A value is the same if it is as a whole; or, where that is asked for, each of its parts is by its
own size, as the judge of outputs has it: a wrong channel of small numbers hides in the whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from bnconvert.numerics.distance import (
    MEASURES,
    Measure,
    relative_errors,
    rounding_errors,
)
from bnconvert.verification.parts import WrongPart, wrong_part
from bnconvert.verification.rounding.bounded_outputs import is_bounded
from bnconvert.verification.values.operator_mapping import operator_name

#: A value may be off by so many times one operator's own rounding error, plus so many times what
#: rounding to the dtype may cause: kernels of other shapes round at other places.
LOCAL, ROUNDING = 8.0, 4.0


@dataclass(frozen=True, eq=False)
class Wanted:
    """A value to search for among those of a file.

    Attributes:
        exact: the value, in float64 where it is floating-point.
        allowed: how far from it another value may be, relative to its size.
    """

    exact: Tensor
    allowed: Mapping[Measure, float]

    def error_of(self, value: Tensor) -> float | None:
        """Return the relative error of a value that is the same up to rounding, else None."""
        if value.shape != self.exact.shape:
            return None
        if not self.exact.is_floating_point() or not value.is_floating_point():
            return 0.0 if torch.equal(value.double(), self.exact.double()) else None
        finite = torch.isfinite(self.exact)
        if not torch.equal(torch.isfinite(value), finite):
            return None
        rest = ~finite
        if rest.any() and not torch.equal(
            value.double()[rest].nan_to_num(), self.exact[rest].nan_to_num()
        ):
            return None
        errors = relative_errors(value, self.exact)
        return errors["norm"] if all(errors[m] <= self.allowed[m] for m in MEASURES) else None


@dataclass(frozen=True, eq=False)
class Expected(Wanted):
    """A value of the captured graph, which a file is expected to compute.

    Attributes:
        node: the node that computes it.
        runs: the value in its own dtype, rounded in some ways; empty where parts do not count.
    """

    node: fx.Node
    runs: Sequence[Tensor] = ()

    @classmethod
    def of(cls, node: fx.Node, exact: Tensor, own: Sequence[Tensor]) -> "Expected":
        """Derive the allowed error from the value's rounding error in its own dtype.

        Args:
            node: the node that computes it.
            exact: the value.
            own: the value in its own dtype, of one run or of several that are rounded otherwise.
        """
        native, bounded = own[0], is_bounded(operator_name(node))
        errors = relative_errors(native, exact)
        rounding = rounding_errors(exact, native.dtype, bounded=bounded)
        allowed = {m: LOCAL * errors[m] + ROUNDING * rounding[m] for m in MEASURES}
        return cls(exact, allowed, node, own if len(own) > 1 else ())

    def error_of(self, value: Tensor) -> float | None:
        """Return the relative error of a value that is the same, its parts too where they count."""
        error = super().error_of(value)
        return None if error is None or self.wrong_part(value) else error

    def wrong_part(self, value: Tensor) -> WrongPart | None:
        """Return the part of a value that is worst, if parts count and one is wrong.

        What is right by the first run is right by all of them: the others are rarely needed.
        """
        wrong: WrongPart | None = None
        for runs in ([self.runs[0]], self.runs) if self.runs else ():
            wrong = wrong_part(
                value,
                self.exact,
                runs,
                (),
                factor=LOCAL,
                whole=self.allowed["norm"],
                bounded=is_bounded(operator_name(self.node)),
                roundings=ROUNDING,
            )
            if wrong is None:
                break
        return wrong

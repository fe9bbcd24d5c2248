"""Whether two modules compute the same function: the proof of what was rewritten inside of one."""

import math

from torch import nn

from bnconvert.graphs.example import Example
from bnconvert.numerics.distance import difference, relative_error
from bnconvert.verification.references.model_outputs import outputs_of
from bnconvert.verification.references.reference import Reference
from bnconvert.verification.tolerance import Tolerance


def first_difference(
    before: nn.Module, after: nn.Module, example: Example
) -> tuple[int, float] | None:
    """Return the first output that is not the same within rounding, and its error; else None.

    The truth is `before` in float64; the tolerance is a multiple of its own rounding error. A NaN,
    an infinity, a shape or a dtype that `before` does not have is an infinite error.

    Args:
        before: the module as it was; looked at only.
        after: the rewritten one; looked at only. Errors of its forward pass through.
        example: inputs of both.
    """
    answers = Reference(before).answers(example)
    tolerance = Tolerance.of([answers])
    measured = outputs_of(after, example)
    for index, (value, truth) in enumerate(zip(measured, answers.true, strict=True)):
        if difference(value, answers.native[index]):
            return index, math.inf
        error = relative_error(value, truth, "norm")
        if not error <= tolerance.allowed(index, "norm"):
            return index, error
    return None

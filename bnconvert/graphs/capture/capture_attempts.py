"""The ways to call torch.export on a model, the most general first, and which are worth trying.

A capture that fails takes as long as one that succeeds. Where it fails because Python asks for a
number of a tensor, it fails in the same line whichever sizes may vary: with the given sizes that
is seen soonest.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example
from bnconvert.torch_private.data_dependence import stops_both_modes

#: What the axis of the batch is called: a single sample is doubled where it may vary.
BATCH = "batch"
Mode = Literal["non-strict", "strict"]
#: What torch says of a condition on numbers: with the sizes of the example in it, then without, as
#: in "u0 > 2 (unhinted: u0 > s77)". There "u0" is a number of a tensor, "s77" a size that may vary.
_NUMBERS = re.compile(r"data-dependent expression ([^\n]+)")
_SIZE = re.compile(r"\bs\d+\b")


@dataclass(frozen=True, eq=False)
class Attempt:
    """One way to call torch.export; it has not been tried yet.

    Attributes:
        name: in words.
        example: the inputs.
        dynamic_shapes: as torch.export or torch.onnx take them.
        mode: of torch.export.
        any_batch: whether the graph has to be right for every batch size.
    """

    name: str
    example: Example
    dynamic_shapes: Any
    mode: Mode = "non-strict"
    any_batch: bool = False


def attempts_for(model: nn.Module, example: Example, dynamic_shapes: Any) -> Iterator[Attempt]:
    """Yield how a capture may be tried, the most general first.

    Args:
        model: says what its inputs are called.
        example: the inputs.
        dynamic_shapes: those that were given; None to let the batch size vary if it can.
    """
    if dynamic_shapes is not None:
        if any(leaf == BATCH for leaf in pytree.tree_leaves(dynamic_shapes)):
            example = _doubled(example)
        yield Attempt("the given dynamic shapes", example, dynamic_shapes)
        yield Attempt("strict mode", example, dynamic_shapes, mode="strict")
        return
    if example.batch:
        wide = _doubled(example)
        shapes = _dynamic_batch(model, wide)
        yield Attempt("a dynamic batch size", wide, shapes, any_batch=True)
    yield Attempt("a fixed batch size", example, None)
    if example.batch:  # of use where the other mode fails for another reason than the batch size
        name = "a dynamic batch size and strict mode"
        yield Attempt(name, wide, shapes, mode="strict", any_batch=True)
    yield Attempt("a fixed batch size and strict mode", example, None, mode="strict")


def attempts_for_part(
    model: nn.Module, example: Example, *, any_size: bool = True
) -> Iterator[Attempt]:
    """Yield how a part of a model may be captured: with all sizes dynamic, if that can be.

    Args:
        model: the part.
        example: its inputs.
        any_size: whether it will get others; else those of the example are tried first, which
            takes half the time.
    """

    def axes(leaf: object) -> dict[int, Any] | None:
        return dict.fromkeys(range(leaf.dim()), Dim.AUTO) if isinstance(leaf, Tensor) else None

    found = [Attempt("all sizes dynamic", example, example.shapes(axes, model))]
    found += (a for a in attempts_for(model, example, None) if a.mode == "non-strict")
    yield from found if any_size else sorted(found, key=lambda a: a.dynamic_shapes is not None)


def probe_of(attempt: Attempt) -> Attempt | None:
    """Return the attempt that fails sooner where a number of a tensor stops `attempt` as well.

    With the given sizes less has to be decided, so that what cannot be decided then never can be,
    and no size is computed with symbols. None where `attempt` has the given sizes already.
    """
    if are_fixed(attempt.dynamic_shapes):
        return None
    return replace(attempt, dynamic_shapes=None, any_batch=False)


def are_fixed(dynamic_shapes: Any) -> bool:
    """Tell whether no size may vary."""
    return all(leaf is None for leaf in pytree.tree_leaves(dynamic_shapes))


def is_hopeless(attempt: Attempt, failures: Mapping[Attempt, Exception]) -> bool:
    """Tell whether an attempt must fail as an earlier one did on the same inputs.

    It is so where Python asked for numbers of tensors, in a condition on which no size bears, or
    the same ones do; and where the mode is another, if it has no other way there.
    """
    return any(_shares(attempt, tried, failure) for tried, failure in failures.items())


def _shares(attempt: Attempt, tried: Attempt, failure: Exception) -> bool:
    """Tell whether an attempt fails where another one did."""
    condition = _NUMBERS.search(str(failure))
    if condition is None or tried.example is not attempt.example:
        return False
    if _SIZE.search(condition[1]) and tried.dynamic_shapes is not attempt.dynamic_shapes:
        return False
    if tried.mode == attempt.mode:
        return True
    return tried.mode == "non-strict" and stops_both_modes(failure)


def _doubled(example: Example) -> Example:
    """Repeat a single sample: torch.export takes sizes 0 and 1 for constants."""
    if example.batch != 1:
        return example
    return example.map(lambda t: torch.cat([t, t]) if example.is_batched(t) else t)


def _dynamic_batch(model: nn.Module, example: Example) -> Any:
    def axes(leaf: object) -> dict[int, Any] | None:
        return {0: Dim.DYNAMIC} if isinstance(leaf, Tensor) and example.is_batched(leaf) else None

    return example.shapes(axes, model)

"""What `torch.export` leaves on a graph: fake values, the calling convention, its own check.

Stands in for a public way to make an ExportedProgram of a graph that was captured before. Known to
work since torch 2.13.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor, fx
from torch._export.verifier import SpecViolationError as SpecViolationError
from torch._subclasses.fake_tensor import FakeTensor


def maker_of_values(values: Iterable[object]) -> Callable[[Tensor], Tensor] | None:
    """Return what turns a weight into a value (a fake tensor) that goes with those of a graph.

    Args:
        values: those of the graph's operators; None is returned where none of them is fake.
    """
    for value in values:
        if isinstance(value, FakeTensor):
            return partial(value.fake_mode.from_tensor, static_shapes=True)
    return None


def calling_convention(graph: fx.Graph) -> Any:
    """Return how a captured graph is called: `in_spec`, `out_spec` and `orig_args` (names).

    Any: torch's class for it is as private as its place.
    """
    return graph._codegen.pytree_info  # type: ignore[attr-defined]

"""What `torch.export` leaves on a graph: fake values, the calling convention, its own check.

Stands in for a public way to make an ExportedProgram of a graph that was captured before. Known to
work since torch 2.10.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor, fx
from torch._export.verifier import SpecViolationError as SpecViolationError
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram


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


def name_guards_by_keyword(program: ExportedProgram, gathered: str) -> None:
    """Let a program's guards read keyword inputs by their own names, as its module does.

    The guards of a forward that takes `**batch` read `batch["image"]`, and the module that torch
    makes of the program has an input `image` and nothing called `batch`: it cannot be called.

    Args:
        program: its guards are spelled anew.
        gathered: the name of the parameter that takes the keyword inputs.
    """
    within = re.compile(rf"L\['{re.escape(gathered)}'\](?=\[')")
    program._guards_code[:] = [within.sub("L", guard) for guard in program._guards_code]

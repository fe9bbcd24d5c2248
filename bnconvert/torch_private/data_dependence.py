"""Where a forward needs a number of a tensor that only its values tell, which stops torch.export.

Stands in for a public way to ask torch.export why it failed: between the line that asked and the
failure lie frames of torch's own symbolic numbers, which are known by their folders. Known to work
since torch 2.10.
"""

import dis
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import is_operator

_TORCH = Path(torch.__file__).parent
#: Below torch's folder: what stands for a number, and asks on behalf of who used it.
_SYMBOLIC = ("fx", "_export", "__init__.py", "_tensor.py")


class Noticing(OperatorObserver):
    """A context that notes whether a forward runs an operator of some kind.

    Attributes:
        seen: whether it has run one.
    """

    def __init__(self, is_meant: Callable[[Any, tuple[Any, ...]], bool]) -> None:
        """Start with nothing seen.

        Args:
            is_meant: tells of an operator and its positional arguments whether it is of the kind.
        """
        self.seen = False
        self._is_meant = is_meant

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator; note whether it is one."""
        self.seen = self.seen or self._is_meant(operator, args)
        return super().run_operator(operator, args, kwargs)


def asks_for_numbers(operator: Any, args: tuple[Any, ...]) -> bool:
    """Tell whether an operator returns a number, or a tensor of a size, that values tell.

    Indexing is tagged so whatever the indices are; integer ones tell no size by their values.
    """
    if not is_operator(operator):
        return False
    if operator is torch.ops.aten.index.Tensor:
        return _is_masked(args[1])
    tags = operator.tags
    return torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags


def decides_size(operator: Any, args: tuple[Any, ...]) -> bool:
    """Tell whether an operator may return a tensor of a size that values of tensors tell.

    Operators of other libraries are not tagged, so that any of them may. A number that is taken
    out of a tensor is none of them: a tracer holds it, and sizes made of it, as constants.

    Args:
        operator: an operator, or what calls functions.
        args: its positional arguments, tensors or fake ones.
    """
    if not is_operator(operator) or operator.namespace not in ("aten", "prim", "prims"):
        return True
    if operator is torch.ops.aten.index.Tensor:
        return _is_masked(args[1])
    packs = operator is torch.ops.aten._pack_padded_sequence.default
    return packs or torch.Tag.dynamic_output_shape in operator.tags


def _is_masked(indices: Iterable[object]) -> bool:
    """Tell whether an index is a mask, whose values tell how many entries it takes."""
    tensors = (index for index in indices if isinstance(index, torch.Tensor))
    return any(index.dtype in (torch.bool, torch.uint8) for index in tensors)


def stops_both_modes(failure: BaseException) -> bool:
    """Tell whether strict mode must fail at the number at which the other mode of capture failed.

    It runs the same operators on the same symbolic numbers, and has no other way to branch on one.
    But it makes an operator of an assertion, and a symbol of `int(...)`, `max` and the like; and a
    forward may ask whether it is in strict mode.
    """
    frames = _frames(failure)
    if any(
        "dynamo" in name for f, _ in frames if not _below_torch(f) for name in f.f_code.co_names
    ):
        return False
    if any(frame.f_code.co_name == "__torch_dispatch__" for frame, _ in frames):
        return True
    asking = [(f, place) for f, place in frames if not _is_symbolic(f)]
    return bool(asking) and _is_branch(asking[-1][0].f_code, asking[-1][1])


def _frames(failure: BaseException) -> list[tuple[FrameType, int]]:
    """Return the frames that a failure passed, with the place in the code of each."""
    found, trace = list[tuple[FrameType, int]](), failure.__traceback__
    while trace is not None:
        found.append((trace.tb_frame, trace.tb_lasti))
        trace = trace.tb_next
    return found


def _below_torch(frame: FrameType) -> bool:
    return Path(frame.f_code.co_filename).is_relative_to(_TORCH)


def _is_symbolic(frame: FrameType) -> bool:
    path = Path(frame.f_code.co_filename)
    return path.is_relative_to(_TORCH) and path.relative_to(_TORCH).parts[0] in _SYMBOLIC


def _is_branch(code: CodeType, place: int) -> bool:
    """Tell whether an instruction takes one way or another, and is no part of an assertion."""
    instructions = [*dis.get_instructions(code)]
    offsets = [instruction.offset for instruction in instructions]
    if place not in offsets:
        return False
    index = offsets.index(place)
    asking = instructions[index]
    if asking.opname == "TO_BOOL" or asking.argrepr.startswith("bool("):  # from Python 3.13 on
        index += 1
    jump = instructions[index]
    if "JUMP" not in jump.opname or "_IF_" not in jump.opname:
        return False
    target = offsets.index(jump.argval) if jump.argval in offsets else index
    nearby = (*instructions[index + 1 : index + 3], *instructions[target : target + 2])
    return not any("ASSERTION" in i.opname or "AssertionError" in i.argrepr for i in nearby)

"""The channels of an ONNX file through which nothing that is compared shows weights.

A channel that a ReLU sets to zero hides the weights that compute it, and those that multiply it.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from bnconvert.verification.files.onnx_graph import OnnxGraph, Operator
from bnconvert.verification.weights.onnx_linear_operators import LinearOperator, linear_operators
from bnconvert.verification.weights.onnx_shown_values import ShownChannels, by_channel

_BLOCK = 2**22  # weights that are compared at once, in float64
_UNITS = 16  # in the last place, by which weights that are folded and rounded again may differ


@dataclass(frozen=True, eq=False)
class UnseenChannels:
    """The channels of one operator whose weights were not seen.

    Attributes:
        linear: the operator and its weights.
        read: which input channels were nothing but zeros.
        written: which output channels no compared value shows.
    """

    linear: LinearOperator
    read: Tensor
    written: Tensor

    @classmethod
    def all_of(cls, linear: LinearOperator) -> "UnseenChannels":
        """Return all channels of an operator."""
        read, written = (
            torch.ones(count, dtype=torch.bool, device="cpu")
            for count in (linear.channels, len(linear.weight))
        )
        return cls(linear, read, written)

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self.read.any() or self.written.any())

    def __str__(self) -> str:
        """Return which share of the channels it is."""
        parts = (("input", self.read), ("output", self.written))
        shares = [f"{int(m.sum())} of {len(m)} {kind}" for kind, m in parts if bool(m.any())]
        return f"{' and '.join(shares)} channels"

    def left_by(self, graph: OnnxGraph, shown: ShownChannels) -> "UnseenChannels":
        """Return those that a file on some input does not show either."""
        linear, axis = self.linear, self.linear.axis
        read, written = graph.values.get(linear.read), graph.values.get(linear.written)
        zero = torch.zeros_like(self.read)  # the numbers of an input are not looked at
        if read is not None and read.shape[axis] == linear.channels:
            zero = (by_channel(read, axis) == 0).all(1)
        seen = shown.of(linear.written, axis)
        hidden = torch.zeros_like(self.written) if seen is None else ~seen
        if linear.activated and written is not None:
            hidden = hidden | (by_channel(written, axis) == 0).all(1)
        return replace(self, read=self.read & zero, written=self.written & hidden)

    def are_those_of(self, other: LinearOperator, eps: float) -> bool:
        """Tell whether the weights are those of another operator, up to a scale of each output.

        Norms that are folded scale outputs; where nothing of an output was seen, its scale is 1.

        Args:
            other: of the reference.
            eps: of the dtype to which either is rounded.
        """
        mine, theirs = self.linear.weight, other.weight
        if mine.shape != theirs.shape or self.linear.groups != other.groups:
            return False
        pairs = ((mine, theirs), (self.linear.bias, other.bias))
        if all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs):
            return True
        seen = ~(self.linear.of_channels(self.read) | self.written[:, None])
        rows = max(1, _BLOCK // max(1, mine[0].numel()))
        return all(
            self._match(other, eps, seen, slice(first, first + rows))
            for first in range(0, len(mine), rows)
        )

    def _match(self, other: LinearOperator, eps: float, seen: Tensor, rows: slice) -> bool:
        """Tell the same of some outputs."""
        mine, theirs = self.linear.weight[rows].double(), other.weight[rows].double()
        shown = seen[rows, :, None] * theirs
        size = (shown * shown).sum((1, 2))
        scale = torch.where(size > 0, (mine * shown).sum((1, 2)) / size.clamp(min=1e-300), 1.0)
        if not _are_near(mine.flatten(1), (scale[:, None, None] * theirs).flatten(1), eps):
            return False
        hidden = self.written[rows]
        if self.linear.bias is None or not bool(hidden.any()):
            return True
        if other.bias is None:
            return False
        own, wanted = self.linear.bias[rows].double(), scale * other.bias[rows].double()
        # A folded norm's shift and mean may cancel out: it is rounded as they were.
        rounding = _UNITS * eps * float(other.bias.abs().max())
        return bool(((own - wanted)[hidden].abs() <= rounding).all())


class HiddenChannels:
    """The channels of a file whose weights no comparison has shown so far.

    Attributes:
        channels: by the place of the operator.
    """

    def __init__(self, path: Path) -> None:
        """Begin with all channels of a file."""
        linear = linear_operators(path)
        self.channels = {operator.place: UnseenChannels.all_of(operator) for operator in linear}

    def see(self, graph: OnnxGraph, held: Collection[str] = ()) -> None:
        """Leave out what the file on some input shows.

        Args:
            graph: the file on that input.
            held: inner values that are the reference's too.
        """
        shown = ShownChannels(graph, held)
        now = {place: unseen.left_by(graph, shown) for place, unseen in self.channels.items()}
        self.channels = {place: unseen for place, unseen in now.items() if unseen}

    def leave_out_those_of(self, reference: Path, eps: float) -> None:
        """Leave out weights that another file has too: there is nothing to see.

        Args:
            reference: the file.
            eps: of the dtype to which either is rounded.
        """
        known = linear_operators(reference) if self.channels else []
        self.channels = {
            place: unseen
            for place, unseen in self.channels.items()
            if not any(unseen.are_those_of(other, eps) for other in known)
        }

    def titles(self, operators: Collection[Operator]) -> list[str]:
        """Return, of those operators that have some, the title and how many channels."""
        return [f"{o} ({self.channels[o.place]})" for o in operators if o.place in self.channels]


def _are_near(first: Tensor, second: Tensor, eps: float) -> bool:
    """Tell whether rows are equal up to rounding, each number by its own size."""
    rounding = _UNITS * eps * (second.abs() + 1e-3 * second.abs().amax(1, keepdim=True))
    return bool(((first - second).abs() <= rounding).all())

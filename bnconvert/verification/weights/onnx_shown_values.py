"""What of an ONNX file's inner values, operator by operator and channel by channel, is compared.

A value is shown by what is computed from it. An operator that makes it constant, as a ReLU that is
zero there, shows nothing.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from bnconvert.verification.files.onnx_graph import OnnxGraph, Operator

#: Operators whose channel computes that channel of the output alone.
_CHANNELWISE = frozenset(
    {
        *("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "ThresholdedRelu"),
        *("HardSigmoid", "HardSwish", "Sigmoid", "Tanh", "Softplus", "Softsign", "Gelu", "Mish"),
        *("Swish", "QuickGelu", "Erf", "Abs", "Neg", "Sqrt", "Exp", "Log", "Pow", "Min", "Max"),
        *("Add", "Sub", "Mul", "Div", "Where", "BatchNormalization", "InstanceNormalization"),
        *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "Pad"),
        *("Resize", "Cast", "Identity", "Dropout", "Floor", "Ceil", "Round", "Sign"),
    }
)


class ShownChannels:
    """Which channels of a file's values something that is compared shows."""

    def __init__(self, graph: OnnxGraph, held: Collection[str]) -> None:
        """Take what was compared.

        Args:
            graph: the file on one input.
            held: inner values that are the reference's too.
        """
        self._graph, self._shown = graph, shown_operators(graph, held)
        self._compared = {*graph.outputs, *held}
        self._consumers = graph.consumers()
        self._known: dict[tuple[str, int], Tensor] = {}

    def of(self, name: str, axis: int) -> Tensor | None:
        """Return which channels of a value are shown; None where its numbers are not known."""
        value = self._graph.values.get(name)
        if value is None or name in self._compared:
            return None
        if (name, axis) not in self._known:
            shown = torch.zeros(value.shape[axis], dtype=torch.bool, device="cpu")
            for reader in self._consumers.get(name, ()):
                if reader in self._shown:
                    shown = shown | self._through(reader, value, axis)
            self._known[name, axis] = shown
        return self._known[name, axis]

    def _through(self, reader: Operator, value: Tensor, axis: int) -> Tensor:
        """Return which channels of a value a reader shows."""
        every = torch.ones(value.shape[axis], dtype=torch.bool, device="cpu")
        name = reader.outputs[0]
        output = self._graph.values.get(name)
        if reader.kind not in _CHANNELWISE or output is None:
            return every
        if output.dim() != value.dim() or output.shape[axis] != value.shape[axis]:
            return every
        before, after = by_channel(value, axis), by_channel(output, axis)
        flat = _is_flat(after) & (~_is_flat(before) | (after == 0).all(1))
        further = self.of(name, axis)
        return ~flat if further is None else ~flat & further


def shown_operators(graph: OnnxGraph, held: Collection[str]) -> set[Operator]:
    """Return the operators of which another value shows the whole."""
    consumers, shown = graph.consumers(), set[Operator]()
    compared = {*graph.outputs, *held}
    for operator in reversed(graph.operators):
        readers = [reader for name in operator.outputs for reader in consumers.get(name, ())]
        telling = (reader for reader in readers if reader in shown)
        own = (name for name in operator.outputs if name in compared)
        if any(_tells(graph, name) for name in own) or any(
            _tells(graph, name) for reader in telling for name in reader.outputs
        ):
            shown.add(operator)
    return shown


def _tells(graph: OnnxGraph, name: str) -> bool:
    """Tell whether a value moves with what it is computed from, as far as can be seen."""
    value = graph.values.get(name)
    return value is None or (has_fractions(value) and bool(value.any()))


def has_fractions(value: Tensor | None) -> bool:
    """Tell whether a value is known, and of a floating-point dtype."""
    return value is not None and value.is_floating_point()


def by_channel(value: Tensor, axis: int) -> Tensor:
    """Return the numbers of each channel in a row."""
    count = value.shape[axis]
    return value.movedim(axis, 0).reshape(count, value.numel() // max(count, 1))


def _is_flat(channels: Tensor) -> Tensor:
    return (channels == channels[:, :1]).all(1)

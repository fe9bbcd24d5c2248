"""The linear operators of an ONNX file, whose weights are matrices from channels to channels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnconvert.errors import ExportError
from bnconvert.verification.files.onnx_runner import Feed, OnnxRunner

_CONVOLUTIONS = ("Conv", "FusedConv", "ConvTranspose")


@dataclass(frozen=True, eq=False)
class LinearOperator:
    """An operator that multiplies channels by weights which no input decides.

    Attributes:
        place: its index in the file.
        read: the name of the value whose channels are multiplied.
        written: the name of the value that it computes.
        axis: of the channels, in both.
        groups: into how many groups the channels are divided.
        weight: (output channels, input channels of a group, places of the kernel).
        bias: one number for each output channel, if it adds any.
        activated: whether an activation follows in the same operator.
    """

    place: int
    read: str
    written: str
    axis: int
    groups: int
    weight: Tensor
    bias: Tensor | None
    activated: bool = False

    @property
    def channels(self) -> int:
        """How many input channels it has."""
        return self.groups * self.weight.shape[1]

    def of_channels(self, unread: Tensor) -> Tensor:
        """Return which weights multiply some input channels: (output channels, of a group)."""
        by_group = unread.reshape(self.groups, -1)
        return by_group.repeat_interleave(self.weight.shape[0] // self.groups, 0)


def linear_operators(path: Path, places: Iterable[int] | None = None) -> list[LinearOperator]:
    """Read the linear operators of a file, with their weights.

    Args:
        path: the file; weights that other operators compute from constants are computed.
        places: of the nodes that are asked for; by default all are.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    wanted = range(len(model.graph.node)) if places is None else places
    nodes = {place: node for place in wanted if _is_linear(node := model.graph.node[place])}
    constants = _Constants(path, model)
    names = {name for node in nodes.values() for name in (*node.input[1:3],) if name}
    values = constants.values(names)
    found = (_linear(place, node, values) for place, node in sorted(nodes.items()))
    return [operator for operator in found if operator is not None]


def _is_linear(node: Any) -> bool:
    return node.op_type in (*_CONVOLUTIONS, "Gemm", "MatMul") and not _attribute(node, "transA", 0)


def _linear(place: int, node: Any, values: Mapping[str, Tensor]) -> LinearOperator | None:
    weight = values.get(node.input[1])
    if weight is None or weight.dim() < 2 or not weight.is_floating_point():
        return None
    groups, axis = 1, 1
    if node.op_type in _CONVOLUTIONS:
        groups = _attribute(node, "group", 1)
        weight = weight.flatten(2) if weight.dim() > 2 else weight[..., None]
        if node.op_type == "ConvTranspose":
            weight = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
    else:
        if weight.dim() != 2:
            return None
        axis = -1
        weight = (weight if _attribute(node, "transB", 0) else weight.T)[..., None]
    bias = values.get(node.input[2]) if len(node.input) > 2 else None
    if bias is not None:
        bias = bias.flatten() if bias.numel() == len(weight) else None
    named, fused = (node.input[0], node.output[0]), node.op_type == "FusedConv"
    return LinearOperator(place, *named, axis, groups, weight, bias, fused)


def _attribute(node: Any, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


class _Constants:
    """The values of a file that do not depend on its inputs."""

    def __init__(self, path: Path, model: Any) -> None:
        self._path, self._model = path, model
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers = {
            name: place for place, node in enumerate(model.graph.node) for name in node.output
        }

    def values(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return the values of those names that are constants, as far as they can be computed."""
        needed = {name: self._needed(name) for name in names}
        known = {name: found for name, found in needed.items() if found is not None}
        if not known:
            return {}
        try:
            return self._computed([*known], {one for found in known.values() for one in found})
        except ExportError:  # no kernel, or bfloat16
            return {}

    def _needed(self, name: str) -> set[str] | None:
        """Return the names of all values that a value is computed from; None if inputs are."""
        found, left = set[str](), [name]
        while left:
            name = left.pop()
            if name in found or not name:
                continue
            found.add(name)
            if name in self._stored:
                continue
            place = self._makers.get(name)
            if place is None:
                return None
            node = self._model.graph.node[place]
            if any(attribute.HasField("g") for attribute in node.attribute):
                return None
            left += node.input
        return found

    def _computed(self, names: Sequence[str], needed: set[str]) -> dict[str, Tensor]:
        """Run a file that consists of nothing but what these values need."""
        import onnx

        graph = self._model.graph
        nodes = [node for node in graph.node if not needed.isdisjoint(node.output)]
        stored = [self._stored[name] for name in needed & self._stored.keys()]
        outputs = [onnx.ValueInfoProto(name=name) for name in names]
        part = onnx.helper.make_graph(nodes, graph.name, [], outputs, stored)
        content = onnx.helper.make_model(
            part,
            opset_imports=self._model.opset_import,
            functions=self._model.functions,
            ir_version=self._model.ir_version,
        ).SerializeToString()
        run = OnnxRunner(self._path, unoptimized=True, content=content).run(Feed({}, {}), names)
        return (
            {} if isinstance(run, str) else dict(zip(names, map(torch.as_tensor, run), strict=True))
        )

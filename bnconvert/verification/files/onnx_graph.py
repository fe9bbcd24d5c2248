"""The graph of an ONNX file: its operators, their inputs, and every value they compute."""

import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnconvert.errors import ExportError
from bnconvert.graphs.example import NamedTensor
from bnconvert.verification.files.onnx_runner import OnnxRunner

CHUNK = 2**28  # bytes of values that are computed in one run
IN_MEMORY = 2**31  # bytes of values beyond which more are kept in temporary files
_ATTEMPTS = 8  # how many operators that cannot run are left out, one after the other
_SHAPES = ("Shape", "Size")  # their outputs do not depend on the numbers of their input
_FAILED = re.compile(r"Name:'(\d+)'")


@dataclass(frozen=True, eq=False)
class Operator:
    """A node of an ONNX graph.

    Attributes:
        place: its index in the file.
        name: its name; may be empty.
        kind: the operator type, such as "Conv".
        inputs: the names of those values it reads that depend on the file's inputs.
        outputs: the names of the values that it computes.
        constants: titles of the operators that compute its other inputs, from weights and shapes.
    """

    place: int
    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[str, ...]

    def __str__(self) -> str:
        """Return its name and kind; without a name, its kind and what it outputs."""
        return _title(self.name, self.kind, self.outputs)


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """The operators of a file whose values depend on the numbers of its inputs, in order.

    Attributes:
        operators: the operators.
        values: what they computed on one input, by name; those that did not run are missing.
        outputs: the names of the file's outputs.
        broken: why an operator cannot run.
    """

    operators: tuple[Operator, ...]
    values: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    broken: Mapping[Operator, str]

    def consumers(self) -> dict[str, list[Operator]]:
        """Return the operators that read each value."""
        found: dict[str, list[Operator]] = {}
        for operator in self.operators:
            for value in dict.fromkeys(operator.inputs):
                found.setdefault(value, []).append(operator)
        return found


def graph_of(path: Path, tensors: Sequence[NamedTensor], folder: Path) -> OnnxGraph:
    """Read a file's graph and compute every value of it, without ONNX Runtime's optimizations.

    Where an operator cannot run, the file is run again without it and everything downstream.

    Args:
        path: the file.
        tensors: its inputs.
        folder: for values that do not fit into memory.

    Raises:
        ExportError: the file cannot be loaded or fed, or too much of it cannot run.
    """
    broken: dict[int, str] = {}
    for _ in range(_ATTEMPTS):
        operators, outputs, content = _with_all_outputs(path, broken)
        runner = OnnxRunner(path, unoptimized=True, content=content)
        values = _values(runner, tensors, folder)
        if not isinstance(values, str):
            reasons = {o: broken[o.place] for o in operators if o.place in broken}
            return OnnxGraph(operators, values, outputs, reasons)
        failed = _FAILED.search(values)
        if failed is None or int(failed[1]) in broken:
            break
        broken[int(failed[1])] = values
    raise ExportError(f"{path.name}: {values}; give inputs that it was exported for")


def operators_of(path: Path) -> tuple[tuple[Operator, ...], tuple[str, ...]]:
    """Return a file's operators whose values depend on its inputs, and its outputs' names."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return tuple(_dependent(graph)), tuple(value.name for value in graph.output)


def _values(
    runner: OnnxRunner, tensors: Sequence[NamedTensor], folder: Path
) -> dict[str, Tensor] | str:
    """Compute every output in runs of bounded size, or say why that fails."""
    feed = runner.feed(tensors)
    batch = max((t.shape[0] for t in feed.tensors.values() if t.dim()), default=1)
    found: dict[str, Tensor] = {}
    held = 0
    for names in _chunks(runner.output_sizes, CHUNK // (8 * batch)):
        outputs = runner.run(feed, names)
        if isinstance(outputs, str):
            return outputs
        for name, value in zip(names, outputs, strict=True):
            held += value.nbytes
            found[name] = value if held <= IN_MEMORY else _spilled(value, folder)
    return found


def _chunks(sizes: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """Divide names into groups whose sizes add up to `most` at the most."""
    chunk: list[str] = []
    total = 0
    for name, size in sizes.items():
        if chunk and total + size > most:
            yield chunk
            chunk, total = [], 0
        chunk.append(name)
        total += size
    if chunk:
        yield chunk


def _spilled(value: Tensor, folder: Path) -> Tensor:
    """Return the same tensor with its numbers in a temporary file."""
    if not value.numel():
        return value
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        place = torch.from_file(file.name, shared=True, size=value.numel(), dtype=value.dtype)
    return place.reshape(value.shape).copy_(value)


def _with_all_outputs(
    path: Path, without: Collection[int]
) -> tuple[tuple[Operator, ...], tuple[str, ...], bytes]:
    """Read the operators, the outputs' names, and the file with every value as an output.

    In it every node is named by its place, so that a failure names one; those that cannot run
    are missing, and all that needs them.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    operators = tuple(_dependent(graph))
    lost: set[str] = set()
    kept: list[Any] = []
    for place, node in _in_order(graph.node):
        node.name = str(place)
        if place in without or lost.intersection(_reads(node)):
            lost.update(name for name in node.output if name)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    outputs = {value.name: value for value in graph.output}
    shown = dict.fromkeys([*outputs, *(name for o in operators for name in o.outputs)])
    del graph.output[:]
    for name in shown:
        if name not in lost:
            graph.output.append(outputs.get(name) or onnx.ValueInfoProto(name=name))
    return operators, tuple(outputs), model.SerializeToString()


def _dependent(graph: Any) -> Iterator[Operator]:
    """Yield the operators whose values depend on the graph's inputs."""
    weights = {tensor.name for tensor in graph.initializer}
    depending = {value.name for value in graph.input} - weights
    computed: dict[str, str] = {}  # the operators that compute the other values
    for place, node in _in_order(graph.node):
        reads = list(dict.fromkeys(_reads(node)))
        inputs = tuple(name for name in reads if name in depending)
        outputs = tuple(name for name in node.output if name)
        if inputs and node.op_type not in _SHAPES:
            depending.update(outputs)
            constants = tuple(dict.fromkeys(computed[name] for name in reads if name in computed))
            yield Operator(place, node.name, node.op_type, inputs, outputs, constants)
        elif node.op_type != "Constant":
            computed |= dict.fromkeys(outputs, _title(node.name, node.op_type, outputs))


def _in_order(nodes: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Yield nodes and their places, each after those whose values it reads.

    Files are to be sorted so, but ONNX Runtime runs others, and tools that add casts write them.
    """
    makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    reads = ({makers[name] for name in _reads(node) if name in makers} for node in nodes)
    sorter = TopologicalSorter(dict(enumerate(reads)))
    sorter.prepare()
    ready: list[int] = []
    while sorter.is_active():
        for place in sorter.get_ready():
            heappush(ready, place)
        first = heappop(ready)  # as in the file, where that is sorted
        yield first, nodes[first]
        sorter.done(first)


def _title(name: str, kind: str, outputs: Sequence[str]) -> str:
    return f"{name} ({kind})" if name else f"the {kind} that computes {', '.join(outputs[:1])}"


def _reads(node: Any) -> Iterator[str]:
    """Yield the values that a node reads, also inside its branches and loop bodies."""
    yield from node.input[:1] if node.op_type == "CastLike" else node.input  # the rest is a dtype
    for attribute in node.attribute:
        for inner in attribute.g.node if attribute.HasField("g") else ():
            yield from _reads(inner)

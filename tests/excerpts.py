"""Small models that are captured side by side, because a capture costs; each is an excerpt."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from bnconvert.graphs.capture.capturing import Captured, capture
from bnconvert.graphs.example import Example, Inputs

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sketch:
    """A way to build a small model, and the shapes of its inputs."""

    build: Callable[[], nn.Module]
    shapes: tuple[Shape, ...]

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Inputs by place and shape, so that sketches share those that are alike."""
        names = [f"x{i}_{'x'.join(map(str, shape))}" for i, shape in enumerate(self.shapes)]
        return {n: torch.randn(s).double() for n, s in zip(names, self.shapes, strict=True)}


#: What such a function takes first: a model with the modules that the function names, of any kind.
Modules = Any


class Applied(nn.Module):
    """A function of a model and its inputs as that model."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def model(build: Callable[[], nn.Module], *shapes: Shape) -> Sketch:
    """Sketch a model of modules."""
    return Sketch(build, shapes)


def function(applied: Callable[..., Any], *shapes: Shape) -> Sketch:
    """Sketch a function of tensors."""
    return Sketch(lambda: Applied(lambda _, *inputs: applied(*inputs)), shapes)


def capture_of(model: nn.Module, inputs: Inputs, dynamic_shapes: Any = None) -> Captured:
    """Capture a model with inputs as a user gives them."""
    return capture(model, Example.of(inputs), dynamic_shapes)


class Excerpts:
    """The graphs of many sketches, in float64, from one capture.

    Every excerpt is new: it may be rewritten, its tensors too. Names are its own, without those
    of the whole.
    """

    def __init__(self, sketches: Mapping[str, Sketch], dynamic: tuple[int, ...] = (0,)) -> None:
        self.sketches = sketches
        self.dynamic = dynamic

    def __getitem__(self, name: str) -> fx.GraphModule:
        module, results = self._captured
        graph, copies, prefix = fx.Graph(), dict[fx.Node, fx.Node](), f"cases.{name}"
        inputs = dict(zip(self._inputs, module.graph.find_nodes(op="placeholder"), strict=True))
        needed = {inputs[key] for key in self.sketches[name].inputs} | set(_makers(results[name]))
        attributes: dict[str, Any] = {}
        for node in [n for n in module.graph.nodes if n in needed]:
            copies[node] = copy = graph.node_copy(node, copies.__getitem__)
            if node.op == "get_attr":
                copy.target = _without(str(node.target), prefix)
                attributes[copy.target] = _attribute(module, str(node.target))
            stack = node.meta.get("nn_module_stack") or {}
            copy.meta["nn_module_stack"] = {
                key: (_without(path, prefix), kind) for key, (path, kind) in stack.items()
            }
        outputs = [copies[node] for node in results[name]]
        graph.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
        return fx.GraphModule(deepcopy(attributes), graph)

    @cached_property
    def _inputs(self) -> dict[str, Tensor]:
        return {k: v for sketch in self.sketches.values() for k, v in sketch.inputs.items()}

    @cached_property
    def _captured(self) -> tuple[fx.GraphModule, dict[str, list[fx.Node]]]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            family = _Family(self.sketches).double().eval()
            shapes = {key: dict.fromkeys(self.dynamic, Dim.DYNAMIC) for key in self._inputs}
            captured = capture_of(family, (self._inputs,), (shapes,))
            counts = {name: len(pytree.tree_leaves(y)) for name, y in family(self._inputs).items()}
        assert not [note for note in captured.notes if "the graph is what" not in note]
        (nodes,) = captured.module.graph.output_node().args
        left = iter(nodes)  # type: ignore[arg-type]
        return captured.module, {n: [next(left) for _ in range(c)] for n, c in counts.items()}


class _Family(nn.Module):
    def __init__(self, sketches: Mapping[str, Sketch]) -> None:
        super().__init__()
        self.cases = nn.ModuleDict({name: sketch.build() for name, sketch in sketches.items()})
        self.wanted = {name: tuple(sketch.inputs) for name, sketch in sketches.items()}

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Any]:
        return {n: case(*(inputs[k] for k in self.wanted[n])) for n, case in self.cases.items()}


def _makers(nodes: list[fx.Node]) -> Iterator[fx.Node]:
    pending, seen = list(nodes), set[fx.Node]()
    while pending:
        node = pending.pop()
        if node not in seen:
            seen.add(node)
            yield node
            pending.extend(node.all_input_nodes)


def _without(path: str, prefix: str) -> str:
    return path.removeprefix(prefix).lstrip(".") if f"{path}.".startswith(f"{prefix}.") else path


def _attribute(module: nn.Module, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)

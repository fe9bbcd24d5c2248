"""A graph as an exported program again, without tracing it a second time.

`torch.onnx.export` captures every module that it is given. A folded graph is captured already: it
only has to read its weights as inputs, which is how an exported program holds them.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    SymIntArgument,
    TensorArgument,
)
from torch.utils._pytree import tree_map

from bnconvert.graphs.mutable_graph import constant
from bnconvert.torch_private.exported_graphs import (
    SpecViolationError,
    calling_convention,
    maker_of_values,
)
from bnconvert.torch_private.operators import calls_subgraphs, changes_its_inputs, is_operator

_PLAIN = (int, float, bool, str, type(None))
Argument = TensorArgument | SymIntArgument | ConstantArgument


def exported_program(
    module: fx.GraphModule, range_constraints: Mapping[Any, Any]
) -> ExportedProgram | None:
    """Return a captured graph as a program that shares its weights; None where it is not plain.

    Args:
        module: a graph of functional ATen operators, with the values that its operators had when
            it was captured; it is not changed.
        range_constraints: what its symbolic sizes may be, from the program it was captured as.
    """
    try:
        return _Program(module).finished(range_constraints)
    except (_NotPlainError, SpecViolationError):
        return None


def drop_numbers(module: fx.GraphModule) -> int:
    """Let a graph return None in the place of every output that is no tensor; count them."""
    output, dropped = module.graph.output_node(), 0

    def kept(result: Any) -> Any:
        nonlocal dropped
        value = result.meta.get("val") if isinstance(result, fx.Node) else result
        if value is None or isinstance(value, Tensor):
            return result
        dropped += 1
        return None

    output.args = tree_map(kept, output.args)
    module.recompile()
    return dropped


class _NotPlainError(Exception):
    """The graph holds something else than operators on tensors and sizes."""


class _Program:
    """A copy of a graph whose weights are inputs."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self.graph = fx.Graph()
        self.weights: dict[str, Tensor] = {}
        self.inputs: list[InputSpec] = []
        self._copies: dict[fx.Node, fx.Node] = {}
        self._lifted: dict[int, fx.Node] = {}  # by identity of the tensor
        nodes = list(module.graph.nodes)
        value_of = maker_of_values(node.meta.get("val") for node in nodes)
        if value_of is None:
            raise _NotPlainError
        self._value_of = value_of
        for node in [node for node in nodes if node.op == "get_attr"]:
            self._lift(node)
        for node in [node for node in nodes if node.op not in ("get_attr", "output")]:
            self._copy(node)
        (results,) = module.graph.output_node().args
        if not isinstance(results, tuple | list):
            raise _NotPlainError
        self.outputs = [self._result(result) for result in results]
        self.graph.output(tuple(self._copies[r] if isinstance(r, fx.Node) else r for r in results))

    def finished(self, range_constraints: Mapping[Any, Any]) -> ExportedProgram:
        """Return the program; torch checks it."""
        spec = calling_convention(self._module.graph)
        signature = ModuleCallSignature(
            inputs=[],  # as torch has it: names in it are not kept up when operators are replaced
            outputs=[],
            in_spec=spec.in_spec,
            out_spec=spec.out_spec,
            forward_arg_names=spec.orig_args,
        )
        return ExportedProgram(
            root=nn.Module(),
            graph=self.graph,
            graph_signature=ExportGraphSignature(self.inputs, self.outputs),
            state_dict=self.weights,
            range_constraints=dict(range_constraints),
            module_call_graph=[ModuleCallEntry("", signature)],
        )

    def _lift(self, node: fx.Node) -> None:
        """Let an input stand for a weight, one for all nodes that read the same tensor."""
        value, name = constant(self._module, node), str(node.target)
        if value is None:
            raise _NotPlainError
        if id(value) not in self._lifted:
            parameter = isinstance(value, nn.Parameter)
            prefix = "p" if parameter else "b"
            lifted = self.graph.placeholder(re.sub(r"\W", "_", f"{prefix}_{name}"))
            lifted.meta = {"val": self._value_of(value)}
            kind = InputKind.PARAMETER if parameter else InputKind.BUFFER
            argument = TensorArgument(lifted.name)
            self.inputs.append(InputSpec(kind, argument, name, None if parameter else True))
            self.weights[name] = value
            self._lifted[id(value)] = lifted
        self._copies[node] = self._lifted[id(value)]

    def _copy(self, node: fx.Node) -> None:
        if node.op == "call_module":
            if node.users:
                raise _NotPlainError
            return  # it checks shapes
        if node.op != "placeholder" and not _is_plain(node):
            raise _NotPlainError
        copied = self.graph.node_copy(node, lambda read: self._copies[read])
        self._copies[node] = copied
        if node.op == "placeholder":
            name = str(node.target)
            if any(name == lifted.name for lifted in self._lifted.values()):
                raise _NotPlainError
            copied.name = name  # fx renames what is called like a builtin
            self.inputs.append(InputSpec(InputKind.USER_INPUT, _argument(copied), None))

    def _result(self, result: Any) -> OutputSpec:
        if isinstance(result, fx.Node):
            argument = _argument(self._copies[result])
        elif isinstance(result, _PLAIN):
            argument = ConstantArgument("", result)
        else:
            raise _NotPlainError
        return OutputSpec(OutputKind.USER_OUTPUT, argument, None)


def _argument(node: fx.Node) -> Argument:
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        return TensorArgument(node.name)
    if isinstance(value, torch.SymInt):
        return SymIntArgument(node.name)
    if isinstance(value, _PLAIN):
        return ConstantArgument(node.name, value)
    raise _NotPlainError


def _is_plain(node: fx.Node) -> bool:
    """Tell whether a node is an operator that changes nothing and has a value."""
    target = node.target
    if node.op != "call_function" or calls_subgraphs(target):
        return False
    return "val" in node.meta and not (is_operator(target) and changes_its_inputs(target))

"""Reading graphs of ATen operators: norms, constants, and the consumers of a value."""

import heapq
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.reporting.table import listed
from bnconvert.torch_private.operators import formals_of

aten = torch.ops.aten
#: In a node's meta: the path of the part of a model that its graph is, where it is not the whole.
PART = "bnconvert_part"
#: To name them all in order for each of them would take quadratic time.
_VERY_MANY = 50

#: Operators that are a fixed affine map in eval mode.
NORMS = (aten.batch_norm.default, aten.instance_norm.default)
_EVAL = aten._native_batch_norm_legit_no_training.default
_TRAINING = (aten._native_batch_norm_legit_functional.default,)
#: These read a shape only, which no fold changes. (A captured graph's only module checks shapes.)
_SHAPE = (
    aten.sym_size.int,
    aten.sym_numel.default,
    aten.sym_stride.int,
    aten._assert_tensor_metadata.default,
)
_WITHOUT_STATISTICS = (aten._native_batch_norm_legit.no_stats,)


@dataclass(frozen=True, eq=False)
class NormCall:
    """One call of a batch norm in a captured graph.

    Attributes:
        node: the operator.
        owner: path of the module whose norm it is.
        number: which call of that owner it is, from 1.
        obstacle: why it is no fixed affine map (it uses batch statistics), or None.
        caller: path of the module in whose forward it is called, to check the owner against.
        channels: how many channels it normalizes.
    """

    node: fx.Node
    owner: str
    number: int
    obstacle: Refusal | None
    caller: str
    channels: int


def inserted_before(
    node: fx.Node,
    target: Any,
    args: tuple[Any, ...],
    value: Any,
    kwargs: dict[str, Any] | None = None,
) -> fx.Node:
    """Return a call of an operator that is put before another, and is a part of what it was.

    Args:
        node: the other.
        target: the operator.
        args: its arguments.
        value: an example of its result.
        kwargs: its keyword arguments.
    """
    with node.graph.inserting_before(node):
        part = node.graph.call_function(target, args, kwargs)
    part.meta = node.meta | {"val": value}
    return part


def normalize_batch_norms(module: fx.GraphModule) -> None:
    """Write every eval batch norm of the graph as `aten.batch_norm`, one node, one output."""
    graph = module.graph
    found = [node for node in graph.nodes if node.target is _EVAL]
    for node in found:
        x, weight, bias, mean, var, momentum, eps = node.args
        given = (x, weight, bias, mean, var, False, momentum, eps, False)
        norm = inserted_before(node, aten.batch_norm.default, given, node.meta["val"][0])
        for user in list(node.users):
            if user.target is operator.getitem and user.args[1] == 0:
                user.replace_all_uses_with(norm)
            graph.erase_node(user)
        graph.erase_node(node)
    if found:
        module.recompile()


def norm_calls(module: fx.GraphModule) -> list[NormCall]:
    """Return every batch norm of activations in the graph, in order.

    A batch norm of a *weight* with its own statistics is weight standardization, no norm.
    """
    counts: dict[str, int] = {}
    calls: list[NormCall] = []
    for node in module.graph.nodes:
        obstacle = batch_norm_obstacle(node)
        if obstacle is None and node.target is not aten.batch_norm.default:
            continue
        if standardizes_weight(node):
            continue
        owner = _owner(node)
        counts[owner] = counts.get(owner, 0) + 1
        value = node.meta["val"]
        channels = int((value if isinstance(value, Tensor) else value[0]).shape[1])
        caller = called_in(node) if node.meta.get("nn_module_stack") else owner
        calls.append(NormCall(node, owner, counts[owner], obstacle, caller, channels))
    return calls


def standardizes_weight(node: fx.Node) -> bool:
    """Tell whether a batch norm with its own statistics normalizes a weight: no norm at all."""
    return batch_norm_obstacle(node) is not None and comes_from_constant(node)


def argument(node: fx.Node, name: str) -> Any:
    """Return an operator's argument by its name in the schema, or its default."""
    for index, formal in enumerate(formals_of(node.target)):
        if formal.name == name:
            if index < len(node.args):
                return node.args[index]
            return node.kwargs.get(name, formal.default_value)
    raise KeyError(f"{node.target} has no argument {name}")


def consumers_of(value: fx.Node) -> set[fx.Node]:
    """Return every operator that reads the numbers of a value; those of its shape alone do not."""
    return {user for user in value.users if user.op != "call_module" and user.target not in _SHAPE}


def comes_from_constant(node: fx.Node) -> bool:
    """Tell whether an operator's input is computed from the module's own tensors alone."""
    pending, seen = [x for x in node.args[:1] if isinstance(x, fx.Node)], set[fx.Node]()
    while pending:
        current = pending.pop()
        if current.op == "placeholder":
            return False
        if current not in seen:
            seen.add(current)
            pending.extend(current.all_input_nodes)
    return True


def batch_norm_obstacle(node: fx.Node) -> Refusal | None:
    """Return why a batch norm uses batch statistics; None for eval norms and everything else."""
    if node.target in _TRAINING:
        return Refusal(
            "training-mode", "it is in training mode: it normalizes by the batch's own statistics"
        )
    if node.target in _WITHOUT_STATISTICS:
        return Refusal(
            "batch-statistics", "it has no running statistics: it normalizes by the batch's own"
        )
    return None


def _owner(node: fx.Node) -> str:
    """Return the module of a norm: from the name of its running mean, else where it is called."""
    mean = node.args[3] if len(node.args) > 3 else None
    if isinstance(mean, fx.Node) and mean.op == "get_attr":
        return str(mean.target).rpartition(".")[0]
    return called_in(node)


def called_in(node: fx.Node) -> str:
    """Return the path of the module in whose forward an operator was called."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def describe(node: fx.Node) -> str:
    """Return an operator in a reader's words: its name, and the module that calls it."""
    part = node.meta.get(PART)
    if node.op == "placeholder":
        input_ = f"input {node.name}"
        return f"the {input_} of the part {part}" if part else f"the model's {input_}"
    if node.op == "output":
        return f"the output of {part}" if part else "the model's output"
    name = getattr(node.target, "__name__", str(node.target)).partition(".")[0]
    where = called_in(node)
    return f"{where} ({name})" if where else name


def names_of(nodes: set[fx.Node]) -> str:
    """Return some operators in words, the first three by name, or by place if there are many."""
    if len(nodes) > _VERY_MANY:
        some = [describe(node) for node in heapq.nsmallest(3, nodes)]
        return f"{', '.join(some)} and {len(nodes) - 3} more"
    return listed(sorted({describe(node) for node in nodes}))

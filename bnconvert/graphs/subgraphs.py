"""Regions of a captured graph: graphs that an operator such as `torch.cond` runs inside it.

A region that switches autocast off, or gradients on or off, computes what its operators compute,
and becomes part of the graph around it. The others stay, and so do the norms inside.
"""

import operator
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from bnconvert.errors import Refusal
from bnconvert.graphs.aten import NormCall, norm_calls, normalize_batch_norms

_AUTOCAST = torch.ops.higher_order.wrap_with_autocast
_GRADIENTS = torch.ops.higher_order.wrap_with_set_grad_enabled


def inline_regions(module: fx.GraphModule, *, under_autocast: bool = False) -> None:
    """Write the operators of every region that only switches a mode into the graph around it.

    Args:
        module: a captured graph, or a region.
        under_autocast: it is inside a region that stays, where what switches autocast off must
            stay too.
    """
    regions = list(_regions(module))
    for node, name, region in regions:
        plain = node.target is _GRADIENTS or (_switches_off(node) and not under_autocast)
        casts = node.target is _AUTOCAST and not plain
        inline_regions(region, under_autocast=under_autocast or casts)
        if plain:
            _inline(module, node, name, region)
            read = (f"{n.target}." for n in module.graph.find_nodes(op="get_attr"))
            if not any(target.startswith(f"{name}.") for target in read):
                module.delete_submodule(name)
    if regions:
        module.recompile()


def switches_autocast_off(module: fx.GraphModule) -> bool:
    """Tell whether a graph, or a region inside it, has a region that switches autocast off."""
    return any(
        _switches_off(node) or switches_autocast_off(region) for node, _, region in _regions(module)
    )


def calls_in_regions(
    module: fx.GraphModule, names: Mapping[fx.Node, str] = MappingProxyType({})
) -> list[NormCall]:
    """Return every call of a norm inside a region, with the reason why it stands.

    Args:
        module: a captured graph, or a region.
        names: of the tensors that come in from outside.
    """
    found: list[NormCall] = []
    for node, _, region in _regions(module):
        normalize_batch_norms(region)
        where = f"it is called inside {node.target}, and folds do not look inside"
        inputs = region.graph.find_nodes(op="placeholder")
        given = tree_leaves((node.args, node.kwargs))[-len(inputs) :] if inputs else []
        inner = {
            value: names.get(source, str(source.target))
            for value, source in zip(inputs, given, strict=True)
            if isinstance(source, fx.Node)
        }
        for call in norm_calls(region):
            statistics = inner.get(call.node.args[3], f"{call.owner}.")
            owner = statistics.rpartition(".")[0]
            found.append(
                replace(call, owner=owner, caller=owner, obstacle=Refusal("inside-region", where))
            )
        found += calls_in_regions(region, inner)
    return found


def _switches_off(node: fx.Node) -> bool:
    return node.target is _AUTOCAST and not node.args[2]


def _regions(module: fx.GraphModule) -> Iterator[tuple[fx.Node, str, fx.GraphModule]]:
    """Yield the operators that run graphs: the operator, and each graph with its name."""
    for node in module.graph.nodes:
        for source in node.all_input_nodes if node.op == "call_function" else ():
            if source.op == "get_attr":
                region = operator.attrgetter(str(source.target))(module)
                if isinstance(region, fx.GraphModule):
                    yield node, str(source.target), region


def _inline(module: fx.GraphModule, node: fx.Node, name: str, region: fx.GraphModule) -> None:
    source = next(n for n in node.all_input_nodes if n.op == "get_attr" and n.target == name)
    operands = node.args[node.args.index(source) + 1 :]
    values: dict[fx.Node, Any] = dict(
        zip(region.graph.find_nodes(op="placeholder"), operands, strict=True)
    )
    with module.graph.inserting_before(node):
        results: Any = module.graph.graph_copy(region.graph, values)
    for old, new in values.items():
        if old.op == "get_attr":
            new.target = f"{name}.{old.target}"
    for user in list(node.users):
        assert user.target is operator.getitem
        index: Any = user.args[1]
        user.replace_all_uses_with(results[index])
        module.graph.erase_node(user)
    module.graph.erase_node(node)
    if not source.users:
        module.graph.erase_node(source)

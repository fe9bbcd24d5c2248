"""The protocol of a fold: a norm into the layer whose output it normalizes.

Decide, then do: `why_not` looks at one norm call and the producer of its input, `apply` rewrites
the graph. Everything works on values, not on modules, so that call sites, tied weights, hooks
and subclasses need no special case.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, fx

from bnconvert.aten import (
    NormCall,
    add_parameter,
    argument,
    aten,
    constant,
    readers,
    readers_of,
    replace_constant,
)
from bnconvert.numerics.affine import Affine, batch_norm_affine

_TRANSPARENT = {
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.detach.default,
    aten.lift_fresh_copy.default,
}


class Fold(ABC):
    """One kind of layer into which the norm behind it folds."""

    #: The operators that this fold absorbs a norm into: (input, weight, bias, ...).
    targets: ClassVar[frozenset[Any]]

    @abstractmethod
    def axis_mismatch(self, producer: fx.Node, weight: Tensor) -> str | None:
        """Return why axis 1 of the output is not the weight's output axis, or None."""

    @abstractmethod
    def folded(
        self, producer: fx.Node, weight: Tensor, bias: Tensor | None, affine: Affine
    ) -> tuple[Tensor, Tensor]:
        """Return the layer's weight and bias with `affine` folded in."""

    def why_not(self, module: fx.GraphModule, call: NormCall, producer: fx.Node) -> str | None:
        """Return why the norm may not be folded into `producer`, or None. Looks only."""
        weight = constant(module, producer.args[1])
        if weight is None:
            return "the layer's weight is computed in the forward, not stored"
        bias_node = argument(producer, "bias")
        bias = constant(module, bias_node)
        if bias_node is not None and bias is None:
            return "the layer's bias is computed in the forward, not stored"
        if not weight.dtype.is_floating_point:
            return f"the layer's weight is {weight.dtype}, not a floating-point tensor"
        if others := readers(module, weight) - {producer}:
            return f"the layer's weight is also read by {_names(others)}"
        affine = affine_of(module, call)
        if isinstance(affine, str):
            return affine
        if mismatch := self.axis_mismatch(producer, weight):
            return mismatch
        if producer.meta["val"].dtype != call.node.meta["val"].dtype:
            return "the norm changes the dtype"
        folded = self.folded(producer, weight, bias, affine)
        if not all(torch.isfinite(tensor).all() for tensor in folded):
            return f"the folded weight overflows {weight.dtype}"
        return None

    def apply(self, module: fx.GraphModule, call: NormCall, producer: fx.Node) -> None:
        """Fold the norm into `producer`. Only where `why_not` has no objection."""
        weight_node, bias_node = producer.args[1], argument(producer, "bias")
        assert isinstance(weight_node, fx.Node)
        weight, bias = constant(module, weight_node), constant(module, bias_node)
        affine = affine_of(module, call)
        assert weight is not None
        assert isinstance(affine, Affine)
        new_weight, new_bias = self.folded(producer, weight, bias, affine)
        replace_constant(module, weight_node, new_weight)
        if bias is not None and readers(module, bias) == {producer}:
            replace_constant(module, bias_node, new_bias)
        else:  # none yet, or one that others read too
            bias_node = add_parameter(module, weight_node, "bias", new_bias)
        producer.args = (producer.args[0], weight_node, bias_node, *producer.args[3:])
        producer.kwargs = {k: v for k, v in producer.kwargs.items() if k != "bias"}
        call.node.replace_all_uses_with(call.node.args[0])  # type: ignore[arg-type]  # a node
        module.graph.erase_node(call.node)


def producer_of(call: NormCall) -> fx.Node | str:
    """Return the operator that makes the norm's input, or why there is none to fold into.

    Looks through what computes the identity in eval (dropout is gone from an eval graph). The
    norm must be the only reader of every value on the way.
    """
    reader, value = call.node, call.node.args[0]
    while isinstance(value, fx.Node):
        if others := readers_of(value) - {reader}:
            return f"its input is also read by {_names(others)}"
        if value.target not in _TRANSPARENT:
            return value
        reader, value = value, value.args[0]
    return "its input is a constant"


def affine_of(module: fx.GraphModule, call: NormCall) -> Affine | str:
    """Return an eval norm as scale and shift, or why it has none."""
    if call.obstacle is not None:
        return call.obstacle
    nodes = {name: argument(call.node, name) for name in ("weight", "bias")}
    tensors = {name: constant(module, node) for name, node in nodes.items()}
    mean = constant(module, argument(call.node, "running_mean"))
    var = constant(module, argument(call.node, "running_var"))
    computed = [name for name in nodes if nodes[name] is not None and tensors[name] is None]
    if mean is None or var is None or computed:
        return "its statistics, weight or bias are computed in the forward, not stored"
    affine = batch_norm_affine(mean, var, tensors["weight"], tensors["bias"], call.eps)
    if not affine.is_finite():
        return "its statistics, weight or bias hold NaN, infinity or a negative variance"
    return affine


def _names(nodes: set[fx.Node]) -> str:
    names = sorted("the model's output" if n.op == "output" else describe(n) for n in nodes)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def describe(node: fx.Node) -> str:
    """Return an operator in a reader's words: its name, and the module that calls it."""
    if node.op == "placeholder":
        return f"the model's input {node.name}"
    name = getattr(node.target, "__name__", str(node.target)).partition(".")[0]
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    where = str(stack[-1][0]) if stack else ""
    return f"{where} ({name})" if where else name

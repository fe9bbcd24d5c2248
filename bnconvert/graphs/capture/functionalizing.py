"""An exported program without in-place operators: quickly where it is plain, by torch elsewhere.

`ExportedProgram.run_decompositions` traces the whole program again, which takes longer than to
export it. Most eval models only call `relu_` and its like on a result that nobody else sees.
"""

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from bnconvert.graphs.aten import NORMS, argument, aten
from bnconvert.graphs.capture.borrowed_shapes import spell_out_borrowed_shapes
from bnconvert.graphs.subgraphs import inline_regions
from bnconvert.torch_private.exported_graphs import name_guards_by_keyword
from bnconvert.torch_private.operators import (
    base_name,
    changes_further_inputs,
    changes_its_inputs,
    functional_counterpart,
    is_composite,
    is_operator,
)
from bnconvert.torch_private.program_modules import module_of

_LAYERS = {
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "linear",
}
#: Composite operators that a fold reads as they are, or that hide no norm and no layer.
_KEPT = _LAYERS | {
    "instance_norm",
    "sym_size",
    "chunk",
    "matmul",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "avg_pool1d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "flatten",
    "reshape",
    "contiguous",
    "pad",
    "layer_norm",
    "group_norm",
    "softmax",
    "log_softmax",
    "scaled_dot_product_attention",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "_weight_norm",
}
#: Their result is memory of its own.
_FRESH = _LAYERS | {
    "add",
    "sub",
    "mul",
    "div",
    "cat",
    "relu",
    "hardtanh",
    "silu",
    "leaky_relu",
    "hardswish",
    "sigmoid",
    "hardsigmoid",
    "elu",
    "mish",
    "layer_norm",
    "group_norm",
    "matmul",
    "mean",
}
#: Their result shows the memory of what they read.
_VIEWS = {"slice", "select", "view", "reshape", "flatten", "permute", "transpose"}
#: These read numbers and keep no view of them.
_LOOKING = _FRESH | {"sym_size", "max_pool2d", "avg_pool2d", "_assert_tensor_metadata"}


def functional_module(program: ExportedProgram, gathered: str | None = None) -> fx.GraphModule:
    """Return a program as a graph without in-place operators; its behavior is the same.

    Args:
        program: what was captured.
        gathered: the parameter of the model's forward that takes all keyword inputs, if any.
    """
    module = _module_of(program, gathered)
    spell_out_borrowed_shapes(module)
    if all(_is_plain(node) for node in module.graph.nodes):
        if [node for node in list(module.graph.nodes) if _make_functional(node)]:
            module.graph.lint()
            module.recompile()
        return module
    return _module_of(program.run_decompositions({}), gathered)


def _module_of(program: ExportedProgram, gathered: str | None) -> fx.GraphModule:
    if gathered is not None:
        name_guards_by_keyword(program, gathered)
    module = module_of(program)
    inline_regions(module)
    return module


def _is_plain(node: fx.Node) -> bool:
    """Tell whether an operator is functional, or easily made so, and hides no others."""
    target = node.target
    if node.op != "call_function" or not is_operator(target):
        return True
    if target in NORMS:
        mode = "training" if target is aten.batch_norm.default else "use_input_stats"
        return not argument(node, mode)
    if target.namespace != "aten":
        return False
    if _is_dropout(target):
        return not argument(node, "train")
    if changes_its_inputs(target):
        return _is_alone(node)
    return not is_composite(target) or base_name(target) in _KEPT


def _is_alone(node: fx.Node) -> bool:
    """Tell whether an in-place operator changes a fresh result that no earlier view shows."""
    target: Any = node.target
    changed = node.args[0]
    if not base_name(target).endswith("_") or not isinstance(changed, fx.Node):
        return False
    if changes_further_inputs(target):
        return False
    if not _is_fresh(changed) or functional_counterpart(target) is None:
        return False
    dtypes = {read.meta["val"].dtype for read in node.all_input_nodes if _is_tensor(read)}
    if len(dtypes) > 1:
        return False  # in place the result keeps its dtype, elsewhere it is promoted
    return not any(_may_alias(user) for user in changed.users if user < node)


def _is_fresh(node: fx.Node) -> bool:
    """Tell whether a result is memory of its own, or the only view of such memory."""
    target, source = node.target, next(iter(node.args), None)
    if node.op != "call_function" or not is_operator(target):
        return False
    if base_name(target) in _VIEWS and isinstance(source, fx.Node):
        return set(source.users) == {node} and _is_fresh(source)
    return base_name(target).rstrip("_") in _FRESH


def _may_alias(user: fx.Node) -> bool:
    target = user.target
    if user.op != "call_function" or not is_operator(target):
        return user.op != "call_module"  # the module that checks shapes
    return base_name(target).rstrip("_") not in _LOOKING


def _make_functional(node: fx.Node) -> bool:
    """Replace an operator that changes its input, or a dropout; tell whether it is one."""
    target = node.target
    if node.op != "call_function" or not is_operator(target):
        return False
    if _is_dropout(target):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        node.replace_all_uses_with(source)
        node.graph.erase_node(node)
        return True
    if changes_its_inputs(target):
        changed, functional = node.args[0], functional_counterpart(target)
        assert isinstance(changed, fx.Node)
        assert functional is not None
        changed.replace_all_uses_with(node, delete_user_cb=lambda user: user > node)
        node.target = functional
        return True
    return False


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def _is_dropout(target: Any) -> bool:
    return base_name(target).removesuffix("_") in (
        "dropout",
        "feature_dropout",
        "alpha_dropout",
        "feature_alpha_dropout",
    )

"""A program in operators that ONNX has: torch.onnx need not decompose it.

`torch.onnx.export` decomposes every program that it is given by tracing it once more, which takes
a third of its time. A folded graph holds few operators that have to be, each of which is a single
other one and decomposed here; where it holds more, torch does it.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from torch import fx, nn
from torch.export import ExportedProgram

from bnconvert.exporting.simplification import onnx_sample_convolution
from bnconvert.exporting.simplification.attention_parts import (
    is_written_by_torch,
    write_attention,
    write_parts,
)
from bnconvert.exporting.simplification.token_rows import write_rows
from bnconvert.graphs.aten import argument, aten, inserted_before
from bnconvert.torch_private.operators import (
    base_name,
    is_composite,
    is_operator,
    may_return_its_inputs,
)

#: Composite operators that torch always decomposes, and that ONNX has as they are.
_IN_ONNX = {"reshape", "flatten", "contiguous", "chunk"}
_ATTENTION = aten.scaled_dot_product_attention.default
_REST = -1  # as large as what the other sizes leave


class DecomposedProgram(ExportedProgram):
    """An exported program that is its own decomposition where few of its operators have one.

    Attributes:
        has_attention: whether attention is an operator of the file.
    """

    has_attention = False

    @classmethod
    def of(cls, program: ExportedProgram, *, has_attention: bool = False) -> "DecomposedProgram":
        """Return a program that shares the weights of another, and its graph, which may change."""
        decomposed = cls(
            root=nn.Module(),
            graph=program.graph,
            graph_signature=program.graph_signature,
            state_dict=program.state_dict,
            range_constraints=program.range_constraints,
            module_call_graph=program.module_call_graph,
        )
        decomposed.has_attention = has_attention
        return decomposed

    def run_decompositions(
        self, decomp_table: Mapping[Any, Any] | None = None, **options: Any
    ) -> ExportedProgram:
        """Return the program without the operators in a table, as `ExportedProgram` does."""
        table = None if decomp_table is None else dict(decomp_table)
        if table is not None:
            for node in list(self.graph.nodes):
                kept = node.target is _ATTENTION and self.has_attention
                if kept and is_written_by_torch(node):
                    continue
                if node.target in _DECOMPOSITIONS:
                    _DECOMPOSITIONS[node.target](node)
        if table is None or any(_has_decomposition(node, table) for node in self.graph.nodes):
            decomposed: ExportedProgram = super().run_decompositions(table, **options)
        else:
            decomposed = self
        if table is not None:
            write_rows(decomposed.graph, decomposed.graph_signature.user_inputs)
        return decomposed


def _has_decomposition(node: fx.Node, table: Mapping[Any, Any]) -> bool:
    """Tell whether torch would put other operators in the place of one."""
    target = node.target
    if node.op != "call_function" or not is_operator(target):
        return False  # arithmetic on sizes, or an item of several results
    if target in table or target is aten.batch_norm.default:
        return True
    always = is_composite(target) and may_return_its_inputs(target)
    return always and base_name(target) not in _IN_ONNX


def _average(node: fx.Node) -> None:
    """Write adaptive pooling to a single number as the mean of the last axes."""
    sizes = argument(node, "output_size")
    if all(size == 1 for size in sizes):
        node.args, node.kwargs = (node.args[0], [*range(-len(sizes), 0)], True), {}
        node.target = aten.mean.dim


def _flattened(node: fx.Node) -> None:
    """Write flattening in numbers, which simplifiers join with what reshapes before it."""
    sizes = [s if isinstance(s, int) else _REST for s in node.meta["val"].shape]
    if sizes.count(_REST) <= 1 and 0 not in sizes:
        node.args, node.kwargs = (node.args[0], sizes), {}
        node.target = aten.reshape.default


def _transposed_convolution(node: fx.Node) -> None:
    """Write a transposed convolution as the general operator."""
    first = [argument(node, name) for name in ("input", "weight", "bias")]
    stride, padding, dilation, further, groups = (
        argument(node, name)
        for name in ("stride", "padding", "dilation", "output_padding", "groups")
    )
    node.args = (*first, stride, padding, dilation, True, further, groups)
    node.kwargs, node.target = {}, aten.convolution.default


def _same_convolution(node: fx.Node) -> None:
    """Write "same" or "valid" padding in numbers, where it is as much on both sides."""
    kind, dilation = argument(node, "padding"), argument(node, "dilation")
    kernel = argument(node, "weight").meta["val"].shape[2:]
    if not all(isinstance(size, int) for size in kernel):
        return
    steps = [*dilation] * (len(kernel) if len(dilation) == 1 else 1)
    total = [d * (k - 1) if kind == "same" else 0 for d, k in zip(steps, kernel, strict=True)]
    if any(size % 2 for size in total):
        return
    first = [argument(node, name) for name in ("input", "weight", "bias", "stride")]
    padding = [size // 2 for size in total]
    node.args, node.kwargs = (*first, padding, dilation, argument(node, "groups")), {}
    node.target = getattr(aten, base_name(node.target)).default
    onnx_sample_convolution.mark(node)


def _extreme(node: fx.Node) -> None:
    """Write the largest or smallest number of all, without axes, which torch.onnx asks for."""
    if not argument(node, "dim") and not argument(node, "keepdim"):
        node.target = {"amax": aten.max.default, "amin": aten.min.default}[base_name(node.target)]
        node.args, node.kwargs = (node.args[0],), {}


def _inference_norm(node: fx.Node) -> None:
    """Write a batch norm with running statistics as the operator that has no other mode."""
    if argument(node, "training"):
        return
    names = ("input", "weight", "bias", "running_mean", "running_var", "momentum", "eps")
    given = tuple(argument(node, name) for name in names)
    value = node.meta["val"]
    saved = value.new_empty((0,))
    target = aten._native_batch_norm_legit_no_training.default
    several = inserted_before(node, target, given, (value, saved, saved))
    node.args, node.kwargs, node.target = (several, 0), {}, operator.getitem


_DECOMPOSITIONS: Mapping[Any, Callable[[fx.Node], None]] = {
    aten.adaptive_avg_pool1d.default: _average,
    aten.adaptive_avg_pool2d.default: _average,
    aten.adaptive_avg_pool3d.default: _average,
    aten.conv1d.default: onnx_sample_convolution.mark,
    aten.conv2d.default: onnx_sample_convolution.mark,
    aten.conv3d.default: onnx_sample_convolution.mark,
    aten.flatten.using_ints: _flattened,
    aten.conv1d.padding: _same_convolution,
    aten.conv2d.padding: _same_convolution,
    aten.conv3d.padding: _same_convolution,
    aten.conv_transpose1d.default: _transposed_convolution,
    aten.conv_transpose2d.input: _transposed_convolution,
    aten.conv_transpose3d.input: _transposed_convolution,
    aten.amax.default: _extreme,
    aten.amin.default: _extreme,
    aten.batch_norm.default: _inference_norm,
    aten.unbind.int: write_parts,
    _ATTENTION: write_attention,
}

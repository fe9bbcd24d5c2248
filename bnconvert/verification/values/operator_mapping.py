"""The operators of ONNX to which each ATen operator may be exported."""

from typing import Any

from torch import fx

#: By how the name of an ATen operator begins, without leading underscores; the longest counts.
_OPERATORS: dict[str, tuple[str, ...]] = {
    "adaptive_avg_pool": ("GlobalAveragePool", "AveragePool", "ReduceMean"),
    "adaptive_max_pool": ("GlobalMaxPool", "MaxPool"),
    "add": ("BatchNormalization",),  # one that is left of a norm
    "addmm": ("Gemm", "MatMul", "Add"),
    "amax": ("ReduceMax",),
    "amin": ("ReduceMin",),
    "avg_pool": ("AveragePool",),
    "batch_norm": ("BatchNormalization",),
    "bmm": ("MatMul",),
    "cat": ("Concat",),
    "clamp": ("Clip", "Max", "Min"),
    "constant_pad": ("Pad",),
    "conv": ("Conv", "ConvTranspose"),
    "conv_transpose": ("ConvTranspose",),
    "einsum": ("Einsum", "MatMul"),
    "embedding": ("Gather",),
    "expand": ("Expand",),
    "flatten": ("Flatten", "Reshape"),
    "gather": ("GatherElements",),
    "group_norm": ("GroupNormalization", "InstanceNormalization"),
    "hardtanh": ("Clip",),
    "index_select": ("Gather",),
    "index": ("Gather", "GatherND"),
    "instance_norm": ("InstanceNormalization",),
    "layer_norm": ("LayerNormalization",),
    "linear": ("Gemm", "MatMul", "Add"),
    "log_softmax": ("LogSoftmax",),
    "matmul": ("MatMul",),
    "max_pool": ("MaxPool",),
    "mean": ("ReduceMean", "GlobalAveragePool"),
    "mm": ("MatMul", "Gemm"),
    "native_layer_norm": ("LayerNormalization",),
    "native_group_norm": ("GroupNormalization", "InstanceNormalization"),
    "pad": ("Pad",),
    "permute": ("Transpose",),
    "pixel_shuffle": ("DepthToSpace", "Reshape", "Transpose"),
    "pixel_unshuffle": ("SpaceToDepth", "Reshape", "Transpose"),
    "reflection_pad": ("Pad",),
    "replication_pad": ("Pad",),
    "repeat": ("Tile",),
    "reshape": ("Reshape", "Flatten"),
    "select": ("Gather",),
    "slice": ("Slice",),
    "split": ("Split",),
    "chunk": ("Split",),
    "squeeze": ("Squeeze", "Reshape"),
    "stack": ("Concat",),
    "sum": ("ReduceSum",),
    "transpose": ("Transpose",),  # and aten.t, by its full name
    "unsafe_view": ("Reshape",),
    "unsqueeze": ("Unsqueeze", "Reshape"),
    "upsample": ("Resize",),
    "view": ("Reshape", "Flatten"),
}
#: Each of these is exported as a single operator of ONNX, whatever its name.
_PRIMITIVE = ("abs", "add", "div", "exp", "log", "mul", "neg", "relu", "sigmoid", "sqrt", "sub",
              "tanh")  # fmt: skip


def may_compute(kind: str, node: fx.Node) -> bool:
    """Tell whether an ONNX operator of this kind may compute what `node` does."""
    name = operator_name(node)
    longest = max((key for key in _OPERATORS if name.startswith(key)), key=len, default="")
    alike = kind.lower() == name.replace("_", "")
    return alike or kind in _OPERATORS.get(longest, ())


def is_primitive(node: fx.Node) -> bool:
    """Tell whether `node` is exported as a single operator with the same inputs."""
    return operator_name(node) in _PRIMITIVE


def operator_name(node: fx.Node) -> str:
    """Return the name of a node's ATen operator, without overload and leading underscores.

    For one of several results it is the name of the operator that computes them.
    """
    target: Any = node.target
    name = str(getattr(target, "__name__", target)).partition(".")[0].lstrip("_")
    if name == "t":
        return "transpose"
    if name == "getitem" and isinstance(node.args[0], fx.Node):
        return operator_name(node.args[0])
    return name

"""The precision that an ONNX file computes in, by its weights and operators."""

from collections import Counter
from pathlib import Path

from bnconvert.verification.files.onnx_outline import outline_of
from bnconvert.verification.rounding.lowered_precision import BFLOAT16, FLOAT16, INT8, Precision

#: Operators of files with integer weights or activations.
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear",
                        "QLinearConv", "QLinearMatMul", "ConvInteger",
                        "MatMulInteger"})  # fmt: skip


def precision_of(path: Path) -> Precision | None:
    """Return the precision of a file; None for float32 and more, or where it cannot be read.

    A file with quantized operators is int8. Else the dtype counts that most of the numbers in its
    weights have.
    """
    import onnx

    try:
        graph = outline_of(path).model.graph
    except Exception:
        return None  # ONNX Runtime says what is wrong with it
    if any(node.op_type in _QUANTIZED for node in graph.node):
        return INT8
    kinds = onnx.TensorProto
    numbers: Counter[int] = Counter()
    lower: dict[int, Precision] = {kinds.FLOAT16: FLOAT16, kinds.BFLOAT16: BFLOAT16}
    for tensor in graph.initializer:
        size = 1
        for axis in tensor.dims:
            size *= axis
        numbers[tensor.data_type] += size
    for value in graph.input:  # a file may have no weights
        numbers[value.type.tensor_type.elem_type] += 1
    floating = {k: n for k, n in numbers.items() if k in (*lower, kinds.FLOAT, kinds.DOUBLE)}
    most = max(floating, key=floating.__getitem__, default=kinds.FLOAT)
    return lower.get(most)

"""Save an ONNX file from memory, with the numbers of weights written from where they lie."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bnconvert.verification.files.onnx_outline import LARGE, write_outline

_ALONE = 1536 * 2**20  # bytes of weights from which on torch writes them beside the file
#: What a file holds as NumPy holds it.
_KINDS = "fi"


def save(program: torch.onnx.ONNXProgram, path: Path, *, beside: bool) -> None:
    """Write a file, the same bytes as torch and onnx write; their errors pass through.

    They copy the numbers of all weights three times, which takes longer than to write them.

    Args:
        program: what torch.onnx returns.
        path: the file.
        beside: whether weights are written into a file of their own, which torch does itself.
    """
    from onnx_ir import serde

    weights = program.model.graph.initializers.values()
    tensors = {value: value.const_value for value in weights if value.const_value is not None}
    named = Counter(tensor.name for tensor in tensors.values())
    if beside or sum(tensor.nbytes for tensor in tensors.values()) > _ALONE:
        program.save(str(path), external_data=beside)
        return
    numbers: dict[str, Any] = {}
    try:
        for value, tensor in tensors.items():
            name = tensor.name
            if not name or named[name] > 1 or tensor.nbytes < LARGE:
                continue
            if (found := _numbers_of(tensor)) is not None:
                numbers[name] = found
                value.const_value = _without_numbers(tensor)
        model = serde.serialize_model(program.model)
    finally:
        for value, tensor in tensors.items():
            value.const_value = tensor
    write_outline(model, numbers, path)


def _numbers_of(tensor: Any) -> Any:
    """Return the bytes of a weight where NumPy holds them as a file does; else None."""
    array = tensor.numpy()
    if array.dtype.kind not in _KINDS or array.dtype.newbyteorder("<") != array.dtype:
        return None
    if array.nbytes != tensor.nbytes:
        return None
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _without_numbers(tensor: Any) -> Any:
    """Return a tensor of the same name, type and sizes that has no numbers."""
    from onnx_ir import Tensor

    return Tensor(
        np.zeros(0, tensor.numpy().dtype),
        dtype=tensor.dtype,
        shape=tensor.shape,
        name=tensor.name,
        doc_string=tensor.doc_string,
        metadata_props={**tensor.metadata_props},
    )

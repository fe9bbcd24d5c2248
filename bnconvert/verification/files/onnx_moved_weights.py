"""A copy of an ONNX file whose weights are moved by units in the last place."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bnconvert.verification.files.onnx_nodes import nodes_of
from bnconvert.verification.rounding.perturbation import moved

#: By operator, the inputs that decide how large its output is: half a pixel less is one pixel less.
#: And exponents: a negative number has no power of nearly two.
_EXACT = {"Resize": (1, 2), "Upsample": (1,), "Range": (0, 1, 2), "Pow": (1,)}
_NUMBERS = "value_float", "value_floats"


def with_moved_weights(path: Path, target: Path, step: float, generator: torch.Generator) -> None:
    """Write a copy of a file with each number of its weights moved, up or down; integers stay.

    Constant nodes hold weights too. Numbers that are sizes, or that sizes are computed with, stay;
    so do exponents.

    Args:
        path: the file.
        target: the copy; weights in a file beside it stay one, beside the copy.
        step: how far, relative to the number; never less than its dtype rounds.
        generator: draws the directions.
    """
    import onnx

    model = onnx.load(str(path))
    nodes = list(nodes_of(model.graph))
    exact = _exact(nodes, {tensor.name for tensor in model.graph.initializer})
    for tensor in (t for t in model.graph.initializer if t.name not in exact):
        _move(tensor, step, generator)
    for node in nodes:
        if node.op_type == "Constant" and exact.isdisjoint(node.output):
            _move_constant(node, step, generator)
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > 2**30
    beside = f"{target.name}.data"
    onnx.save(model, str(target), save_as_external_data=large, location=beside)


def _exact(nodes: Sequence[Any], constants: set[str]) -> set[str]:
    """Return the names of values that stay, of constants among others."""
    exact = {
        name
        for node in nodes
        for place, name in enumerate(node.input)
        if place in _EXACT.get(node.op_type, ())
    }
    constants = constants | {n.output[0] for n in nodes if n.op_type == "Constant"}
    sizes = set[str]()
    for node in nodes:
        read = {name for name in node.input if name}
        if node.op_type in ("Shape", "Size"):
            sizes.update(node.output)
        elif read & sizes and read <= sizes | constants:
            sizes.update(node.output)
            exact |= read
    return exact


def _move_constant(node: Any, step: float, generator: torch.Generator) -> None:
    for attribute in node.attribute:
        if attribute.name == "value":
            _move(attribute.t, step, generator)
        elif attribute.name in _NUMBERS:
            numbers = torch.tensor([attribute.f, *attribute.floats], device="cpu")
            attribute.f, *others = moved(numbers, step, generator).tolist()
            attribute.floats[:] = others


def _move(tensor: Any, step: float, generator: torch.Generator) -> None:
    """Move the numbers of a tensor, if they have fractions."""
    import onnx

    kinds, array = onnx.TensorProto, onnx.numpy_helper.to_array
    if tensor.data_type in (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE):
        other = moved(torch.from_numpy(array(tensor).copy()), step, generator)
        tensor.CopyFrom(onnx.numpy_helper.from_array(other.numpy(), tensor.name))
    elif tensor.data_type == kinds.BFLOAT16:  # of which NumPy has no arrays
        values = torch.from_numpy(array(tensor).astype(np.float32)).bfloat16()
        raw = moved(values, step, generator).view(torch.int16).numpy().tobytes()
        bare = kinds(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, raw_data=raw)
        tensor.CopyFrom(bare)

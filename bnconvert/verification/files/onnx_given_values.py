"""A copy of an ONNX file whose operators read given values in place of those that it computes.

It still computes them: each from given ones alone, so that no error is carried further than to the
next value that is given.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from bnconvert.verification.files.onnx_nodes import nodes_of

_GIVEN = "given "  # begins no name that a tool would write


def given_name(name: str) -> str:
    """Return the name of the input that is read in place of a value."""
    return f"{_GIVEN}{name}"


def with_given_values(path: Path, target: Path, values: Mapping[str, Tensor]) -> None:
    """Write the copy.

    Args:
        path: the file.
        target: the copy, beside which weights in a file of their own lie too.
        values: by name; of each the dtype and the number of axes count.
    """
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    for node in nodes_of(graph):
        for place, name in enumerate(node.input):
            if name in values:
                node.input[place] = given_name(name)
    for name, value in values.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(value.numpy().dtype)
        shape = [None] * value.dim()
        graph.input.append(onnx.helper.make_tensor_value_info(given_name(name), kind, shape))
    large = sum(len(tensor.raw_data) for tensor in graph.initializer) > 2**30
    beside = f"{target.name}.data"
    onnx.save(model, str(target), save_as_external_data=large, location=beside)

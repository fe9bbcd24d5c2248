"""The names of sizes that are not known, such as "batch", of values inside a file.

ONNX Runtime takes values whose sizes have the same names for equally large, and plans ahead which
of them share memory. That takes longer than to ask for memory when a value is computed, and holds
more of it: without the names a transformer runs in 0.95 of the time, in a third of the memory.
"""

from pathlib import Path
from typing import Any

from bnconvert.verification.files.onnx_outline import LARGE, outline_of, write_outline

_IMAGES = "AveragePool", "Conv", "ConvTranspose", "MaxPool", "Resize"


def forget_size_names(path: Path) -> None:
    """Leave sizes inside a file open that are no numbers; inputs and outputs keep their names.

    Args:
        path: the file; is written again where it has such names.
    """
    outline = outline_of(path, LARGE)
    if forget_names(outline.model):
        held = memoryview(path.read_bytes())
        numbers = {name: held[place] for name, place in outline.numbers.items()}
        write_outline(outline.model, numbers, path)


def forget_names(model: Any) -> bool:
    """Do the same with a model of onnx in memory; tell whether there were any names.

    What operators on images read and make keeps them: ONNX Runtime adds two images in the blocks
    that convolutions compute in only where it knows that they are equally large.
    """
    images = {
        name
        for node in model.graph.node
        if node.op_type in _IMAGES
        for name in (node.input[0], node.output[0])
    }
    inside = (value for value in model.graph.value_info if value.name not in images)
    sizes = (size for value in inside for size in value.type.tensor_type.shape.dim)
    named = [size for size in sizes if size.HasField("dim_param")]
    for size in named:
        size.ClearField("dim_param")
    return bool(named)

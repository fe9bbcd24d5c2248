"""What is left of a norm in a file: an addition to an image is written as a batch norm.

ONNX Runtime computes convolutions on blocks of channels. A constant factor or a batch norm between
them is a convolution to it; for a constant summand it leaves the blocks and comes back.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from bnconvert.exporting.simplification.onnx_constants import constant
from bnconvert.folding.folding import Folded
from bnconvert.graphs.canonical_forms import EPS

_IMAGE = 4  # axes
_VECTORS = "weight", "bias", "running_mean", "running_var"


def summands_of(folded: Folded) -> list[str]:
    """Return the names of the constants in a folded graph that are what is left of its norms."""
    standing = {row.path for row in folded.report.norms if row.outcome == "standing"}
    names = (name.rpartition(".") for name in folded.module.state_dict())
    return ["".join(n) for n in names if n[0] in standing and n[2].startswith("shift")]


def write_as_norms(model: Any, summands: Collection[str]) -> None:
    """Write the additions of some constants as batch norms, which compute the same to the bit.

    Args:
        model: of onnx_ir, in memory; is changed in place.
        summands: the names of the constants.
    """
    for name in summands:
        value = model.graph.initializers.get(name)
        for node in [] if value is None else [use.node for use in value.uses()]:
            if node.op_type == "Add" and _is_image(_other(node, value)):
                _rewrite(model.graph, node, value)
        if value is not None and not value.uses():
            del model.graph.initializers[name]


def _other(node: Any, value: Any) -> Any:
    """Return the input of an addition that is not `value`."""
    return node.inputs[0] if node.inputs[1] is value else node.inputs[1]


def _is_image(value: Any) -> bool:
    return value.shape is not None and len(value.shape) == _IMAGE


def _rewrite(graph: Any, node: Any, summand: Any) -> None:
    """Write an addition of one number for each channel as a batch norm; leave any other."""
    import onnx_ir

    image, numbers = _other(node, summand), summand.const_value.numpy()
    channels = numbers.size
    if numbers.shape[-3:] != (channels, 1, 1) or image.shape[1] != channels:
        return
    filled = [np.full(channels, number).astype(numbers.dtype) for number in (1, 0, 1 - EPS)]
    vectors = filled[0], numbers.reshape(channels), *filled[1:]
    node.op_type = "BatchNormalization"
    node.resize_inputs(5)
    node.replace_input_with(0, image)
    for place, vector in enumerate(vectors, 1):
        name = f"{summand.name}_{_VECTORS[place - 1]}"
        node.replace_input_with(place, constant(graph, name, vector))
    node.attributes["epsilon"] = onnx_ir.AttrFloat32("epsilon", EPS)

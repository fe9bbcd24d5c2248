"""A copy of an ONNX file whose weights are moved by units in the last place."""

from pathlib import Path

import torch

from bnconvert.verification.perturbation import moved


def with_moved_weights(path: Path, target: Path, step: float, generator: torch.Generator) -> None:
    """Write a copy of a file with each number of its weights moved, up or down; integers stay.

    Args:
        path: the file.
        target: the copy; weights in a file beside it stay one, beside the copy.
        step: how far, relative to the number; never less than its dtype rounds.
        generator: draws the directions.
    """
    import onnx

    model, kinds = onnx.load(str(path)), onnx.TensorProto
    for tensor in model.graph.initializer:
        if tensor.data_type in (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE):
            values = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
            other = moved(values, step, generator).numpy()
            tensor.CopyFrom(onnx.numpy_helper.from_array(other, tensor.name))
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > 2**30
    beside = f"{target.name}.data"
    onnx.save(model, str(target), save_as_external_data=large, location=beside)

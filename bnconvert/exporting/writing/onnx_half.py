"""Half precision: rewrite a float32 file so that it computes in float16, by ONNX Runtime's tool."""

from pathlib import Path
from typing import Any

import numpy as np

from bnconvert.errors import ExportError
from bnconvert.exporting.writing.onnx_weights import SINGLE_FILE_LIMIT, weights_beside

_MOST = float(np.finfo(np.float16).max)


def halve(path: Path) -> None:
    """Cast the weights, inputs and outputs of a file to float16, where its operators know that.

    Folding was done in float64 before, so that every weight is rounded to float16 once.

    Raises:
        ExportError: a weight is too large for float16.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(str(path))
    _require_range(model)
    names = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.value_info if value.name not in names]
    del model.graph.value_info[:]  # the tool casts weights that have such an entry too
    model.graph.value_info.extend(values)
    halved = convert_float_to_float16(model, max_finite_val=_MOST, disable_shape_infer=False)
    OnnxModel(halved).topological_sort()  # the tool casts values before they are computed
    weights_beside(path).unlink(missing_ok=True)  # of the file in float32
    large = sum(len(tensor.raw_data) for tensor in halved.graph.initializer) > SINGLE_FILE_LIMIT
    onnx.save(
        halved,
        str(path),
        save_as_external_data=large,
        location=weights_beside(path).name if large else None,
    )


def _require_range(model: Any) -> None:
    """Require that float16 has the weights; what is as large as float32 can be is so in float16.

    Raises:
        ExportError: it has not.
    """
    import onnx

    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = np.abs(onnx.numpy_helper.to_array(tensor))
            ends = values == np.finfo(np.float32).max  # of a mask, or of a clamp without a bound
            largest = float(values.max(initial=0.0, where=np.isfinite(values) & ~ends))
            if largest > _MOST:
                raise ExportError(
                    f"{tensor.name}: has the number {largest:.3g}, and float16 ends at "
                    f"{_MOST:.3g}; export in float32 (leave dtype, --half out)"
                )

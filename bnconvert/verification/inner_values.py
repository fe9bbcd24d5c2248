"""Inner values: what a model's modules return, searched among all the values of a file.

Where a model's outputs hide its layers, these still show that the file computes them. The model is
the user's own, with hooks; nothing of capturing or folding takes part.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from bnconvert.graphs.example import Example, NamedTensor
from bnconvert.numerics.distance import MEASURES, relative_errors, rounding_errors
from bnconvert.verification.files.onnx_graph import graph_of
from bnconvert.verification.rounding.exact_precision import ExactPrecision
from bnconvert.verification.values.expected_values import LOCAL, ROUNDING, Wanted
from bnconvert.verification.values.value_matching import FileValues
from bnconvert.verification.weights.influence import GradientRun, Place


def weights_seen_inside(
    native: nn.Module, exact: nn.Module, example: Example, path: Path, fed: Sequence[NamedTensor]
) -> set[str]:
    """Return the weights that move some module's output which the file computes too.

    Args:
        native: the model, in eval mode.
        exact: the same in float64.
        example: a small input.
        path: the file.
        fed: `example` as the file takes it.
    """
    run = GradientRun.of(native, example, inner=True)
    with ExactPrecision():  # a forward may cast, as pixels to float32
        truth = GradientRun.values_of(exact, example.in_double())
    with tempfile.TemporaryDirectory() as scratch:
        values = FileValues(graph_of(path, fed, Path(scratch)).values)
        held = [place for place in run.inner if _holds(values, run.values, truth, place)]
    return run.moving([run.inner[place] for place in held])


def _holds(
    values: FileValues, native: Mapping[Place, Tensor], exact: Mapping[Place, Tensor], place: Place
) -> bool:
    """Tell whether the file computes what a module returns, up to rounding."""
    value, truth = native[place], exact.get(place)
    if truth is None or truth.shape != value.shape or not value.numel():
        return False
    errors = relative_errors(value, truth)
    unit = rounding_errors(truth, value.dtype, bounded=True)
    allowed = {m: LOCAL * errors[m] + ROUNDING * unit[m] for m in MEASURES}
    return bool(values.holders(Wanted(truth.cpu(), allowed)))

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.folding.operators.computed_weight import Rebiased
from bnconvert.folding.operators.graph_plan import GraphPlan
from tests.excerpts import Applied, function, model
from tests.folding.operators.passage import ANY, PASSES, SCALE, SHIFT, Change, Passages

IMAGE, WEIGHT, MATRIX = (2, 4, 5, 5), (6, 4, 3, 3), (3, 5)


def for_each_sample(x: Tensor, mixture: Tensor) -> Tensor:
    """Convolve every sample with weights of its own, made from its row of `mixture`."""
    n, channels, h, w = x.shape
    y = F.conv2d(x.reshape(1, n * channels, h, w), mixture.reshape(n * 6, 4, 1, 1), groups=n)
    return y.permute(1, 0, 2, 3).reshape(n, 6, h, w)


fixed = Passages(
    {
        "conv": function(F.conv2d, IMAGE, WEIGHT),
        "conv_bias": function(F.conv2d, IMAGE, WEIGHT, (6,)),
        "grouped": function(lambda x, w: F.conv2d(x, w, groups=2), IMAGE, (6, 2, 3, 3)),
        "padded": function(lambda x, w: F.conv2d(x, w, padding=1), IMAGE, WEIGHT),
        "linear": function(F.linear, (2, 5), MATRIX),
        "linear_bias": function(F.linear, (2, 4, 5), MATRIX, (3,)),
        "scalar_product": function(F.linear, (2, 4, 5), (5,)),
        "read_twice": function(lambda x, w: (F.conv2d(x, w), w.sum()), IMAGE, WEIGHT),
        "stored_bias": model(
            lambda: Applied(lambda m, x, w: F.conv2d(x, w, m.b), b=nn.Parameter(torch.randn(6))),
            IMAGE,
            WEIGHT,
        ),
    },
    dynamic=(),
)
dynamic = Passages({"samples": function(for_each_sample, IMAGE, (2, 24))})


@pytest.mark.parametrize("change", [ANY, SCALE, SHIFT])
@pytest.mark.parametrize("name", ["conv", "conv_bias", "grouped", "padded", "stored_bias"])
def test_a_convolution_scales_what_computes_its_weight(name: str, change: Change) -> None:
    assert fixed(name).up(change) == PASSES


@pytest.mark.parametrize("change", [ANY, SCALE, SHIFT])
def test_a_linear_layer_scales_what_computes_its_weight(change: Change) -> None:
    assert fixed("linear").up(change) == PASSES
    assert fixed("linear_bias").up(change, axes=(2,)) == PASSES


@pytest.mark.parametrize("change", [ANY, SCALE, SHIFT])
def test_samples_that_are_groups_of_one_convolution_repeat_the_map(change: Change) -> None:
    assert dynamic("samples").up(change) == PASSES


def test_a_new_bias_repeats_as_often_as_there_are_samples() -> None:
    passage = dynamic("samples")
    result = passage.results[0]
    shift = SHIFT.on(torch.zeros(2, 6, 1, 1), (1,))
    plan = passage.propagator.absorb_output_map(result, shift)
    assert isinstance(plan, GraphPlan)
    (edit,) = (edit for edit in plan.edits if isinstance(edit, Rebiased))
    assert edit.bias.shape == (6,)
    assert edit.times is not None


def test_a_weight_that_is_read_elsewhere_is_not_scaled() -> None:
    assert (
        fixed("read_twice")
        .up(SCALE)
        .startswith(
            "the layer's weight is computed in the forward, not stored: its input is also read by"
        )
    )
    assert fixed("read_twice").up(SHIFT) == PASSES


def test_a_map_along_another_axis_is_refused() -> None:
    assert fixed("conv").up(ANY, axes=(2,)) == (
        "it varies along axis 2, the layer's channels are axis 1"
    )


def test_a_vector_as_weight_makes_no_features() -> None:
    assert fixed("scalar_product").up(ANY) == (
        "a linear layer whose weight is a vector: it has no features"
    )

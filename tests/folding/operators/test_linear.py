import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.excerpts import Applied, function, model
from tests.folding.operators.passage import ANY, PASSES, SCALE, SHIFT, Change, Passages

ROWS, SEQUENCES = (2, 5), (2, 5, 5)
passage = Passages(
    {
        "plain": model(lambda: nn.Linear(5, 7), ROWS),
        "no_bias": model(lambda: nn.Linear(5, 7, bias=False), ROWS),
        "one_feature": model(lambda: nn.Linear(5, 1), ROWS),
        "sequences": model(lambda: nn.Linear(5, 5), SEQUENCES),
    }
)
fixed = Passages(
    {
        "vector": model(lambda: nn.Linear(5, 3), (5,)),
        "computed": function(F.linear, ROWS, (3, 5)),
        "scalar_product": model(
            lambda: Applied(lambda m, x: F.linear(x, m.w), w=nn.Parameter(torch.randn(5))),
            SEQUENCES,
        ),
    },
    dynamic=(),
)


@pytest.mark.parametrize("change", [ANY, SCALE, SHIFT])
@pytest.mark.parametrize("name", ["plain", "no_bias", "one_feature"])
def test_any_map_goes_into_the_weight_both_ways(name: str, change: Change) -> None:
    assert passage(name).up(change) == PASSES
    assert passage(name).down(change) == PASSES


def test_the_features_are_the_last_axis_however_many_there_are() -> None:
    assert passage("sequences").up(ANY, axes=(2,)) == PASSES
    assert passage("sequences").down(ANY, axes=(2,)) == PASSES
    assert fixed("vector").up(ANY, axes=(0,)) == PASSES
    assert fixed("vector").down(ANY, axes=(0,)) == PASSES


def test_axis_1_of_sequences_is_not_the_features() -> None:
    refusal = "a linear layer on 3 axes: its features are the last axis, the norm normalizes axis 1"
    assert passage("sequences").up(ANY) == refusal
    assert passage("sequences").down(ANY) == f"linear reads it: {refusal}"


def test_a_computed_weight_takes_no_map_of_the_input() -> None:
    refusal = "the layer's weight is computed in the forward, not stored"
    assert fixed("computed").down(ANY) == f"linear reads it: {refusal}"
    assert fixed("computed").down(SCALE, at=1) == (
        "linear reads it: it is the weight of a linear layer"
    )


def test_a_vector_as_weight_makes_no_features() -> None:
    """Its result has an axis less, whose numbers may be as many as the features that it read."""
    refusal = "a linear layer whose weight is a vector: it has no features"
    assert fixed("scalar_product").up(ANY) == refusal
    assert fixed("scalar_product").down(ANY, axes=(2,)) == f"linear reads it: {refusal}"

import pytest
import torch
from torch import Tensor

from tests.excerpts import function
from tests.folding.operators.passage import ANY, PASSES, SCALE, SHIFT, Passages

SCORES, VALUES, VECTOR = (2, 3, 4, 4), (2, 3, 4, 5), (4,)
ROWS, COLUMNS, HEADS = (2,), (3,), (1,)


def in_heads(scores: Tensor, values: Tensor) -> Tensor:
    """Average the values with the heads on the batch axis."""
    n, heads = scores.shape[:2]
    weights = scores.softmax(-1).reshape(n * heads, 4, 4)
    return (weights @ values.reshape(n * heads, 4, 5)).reshape(n, heads, 4, 5)


def in_heads_of_softmax(scores: Tensor, values: Tensor) -> Tensor:
    n, heads = scores.shape[:2]
    weights = scores.reshape(n * heads, 4, 4).softmax(-1)
    return torch.bmm(weights, values.reshape(n * heads, 4, 5)).reshape(n, heads, 4, 5)


passage = Passages(
    {
        "average": function(lambda a, v: a.softmax(-1) @ v, SCORES, VALUES),
        "heads": function(in_heads_of_softmax, SCORES, VALUES),
        "reshaped_after_softmax": function(in_heads, SCORES, VALUES),
        "other_axis": function(lambda a, v: a.softmax(2) @ v, SCORES, VALUES),
        "product": function(torch.matmul, SCORES, VALUES),
        "shared_values": function(lambda a, v: a.softmax(-1) @ v[:, :1], SCORES, VALUES),
        "vector": function(lambda a, v: a @ v[0, 0, :, 0], SCORES, VALUES),
        "itself": function(lambda a: a @ a, SCORES),
    }
)

any_length = Passages(
    {"average": function(lambda q, v: (q @ q.mT).softmax(-1) @ v, VALUES, VALUES)}, (0, 2)
)


@pytest.mark.parametrize("axes", [COLUMNS, HEADS, (1, 3)])
def test_an_average_takes_any_map_of_its_columns(axes: tuple[int, ...]) -> None:
    assert passage("average").up(ANY, axes) == PASSES
    assert passage("heads").up(ANY, axes) == PASSES


def test_a_scale_goes_into_the_matrix_that_has_the_axis() -> None:
    assert passage("product").up(SCALE, COLUMNS) == PASSES
    assert passage("product").up(SCALE, ROWS) == PASSES
    assert passage("product").up(SCALE, HEADS) == PASSES


@pytest.mark.parametrize("name", ["product", "other_axis", "reshaped_after_softmax"])
def test_an_addition_passes_only_where_rows_are_known_to_sum_to_one(name: str) -> None:
    assert passage(name).up(SHIFT, COLUMNS) == (
        "a product of two matrices: an addition does not pass it"
    )


def test_an_addition_does_not_pass_where_rows_may_be_empty() -> None:
    """A softmax over no numbers sums to zero, so that the product has no part of the addition."""
    scores, values = torch.ones(2, 4, 0), torch.ones(2, 0, 5)
    assert torch.equal(scores.softmax(-1) @ (values + 3), torch.zeros(2, 4, 5))
    assert any_length("average").up(SCALE, COLUMNS) == PASSES
    assert any_length("average").up(SHIFT, COLUMNS) == (
        "a product of two matrices: an addition does not pass it"
    )


def test_an_addition_to_a_row_is_no_addition_to_the_values() -> None:
    assert passage("average").up(SHIFT, ROWS) == (
        "a product of two matrices: an addition does not pass it"
    )


def test_what_varies_along_rows_and_columns_goes_into_neither() -> None:
    refusal = "a product of two matrices, neither of which can be scaled"
    assert passage("product").up(SCALE, (2, 3)) == refusal
    assert passage("vector").up(SCALE, ROWS) == refusal


def test_values_that_all_heads_share_take_no_scale_of_a_head() -> None:
    assert passage("shared_values").up(SCALE, COLUMNS) == PASSES
    assert passage("shared_values").up(SHIFT, HEADS) == (
        "a product of two matrices, neither of which can be scaled"
    )


def test_a_matrix_times_itself_is_no_product_of_two() -> None:
    assert passage("itself").up(SCALE, COLUMNS) == "it multiplies a matrix by itself"


def test_a_map_of_a_factor_is_not_taken_back_below_the_product() -> None:
    assert passage("product").down(SCALE, COLUMNS, at=1) == "matmul reads it"

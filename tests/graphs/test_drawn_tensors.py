"""What is drawn at random is like what was given."""

import pytest
import torch

from bnconvert.graphs.drawn_tensors import drawn_like


def drawn(tensor: torch.Tensor) -> torch.Tensor:
    return drawn_like(tensor, torch.Generator().manual_seed(0))


def test_categories_stay_in_their_columns() -> None:
    table = torch.stack([torch.arange(6) % 2, torch.arange(6) + 10], 1)
    for dtype in (torch.int64, torch.float32):
        first, second = drawn(table.to(dtype)).T
        assert set(first.tolist()) <= {0, 1}
        assert set(second.tolist()) <= set(range(10, 16))


def test_of_equal_rows_all_values_serve() -> None:
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]] * 6)
    assert not torch.equal(drawn(tokens), tokens)
    assert set(drawn(tokens).unique().tolist()) <= set(range(1, 9))


@pytest.mark.parametrize("dtype", [torch.float16, torch.int32, torch.bool, torch.complex64])
def test_shape_and_dtype_are_the_same(dtype: torch.dtype) -> None:
    for shape in ((), (3,), (5, 4), (0, 2), (2, 3, 4)):
        tensor = torch.ones(shape, dtype=dtype)
        assert (drawn(tensor).shape, drawn(tensor).dtype) == (tensor.shape, dtype)

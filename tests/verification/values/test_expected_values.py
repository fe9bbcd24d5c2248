"""How far off a value of a file may be."""

import math

import pytest
import torch
from torch import Tensor, fx

from bnconvert.verification.values.expected_values import Expected


def expected(exact: Tensor, allowed: float = 1e-6) -> Expected:
    node = fx.Graph().placeholder("x")
    return Expected(exact, {"norm": allowed, "peak": 4 * allowed}, node)


@pytest.mark.parametrize("what", [math.nan, math.inf])
def test_nan_is_the_same_only_at_the_same_places(what: float) -> None:
    exact = torch.tensor([1.0, what, 2.0], dtype=torch.float64)
    assert expected(exact).error_of(exact.float()) == 0.0
    assert expected(exact).error_of(torch.tensor([what, 1.0, 2.0])) is None
    assert expected(exact).error_of(torch.tensor([1.0, 1.0, 2.0])) is None
    assert math.isnan(what) or expected(exact).error_of(torch.tensor([1.0, -what, 2.0])) is None


def test_integers_and_shapes_are_compared_exactly() -> None:
    exact = torch.tensor([[1, 2], [3, 4]])
    assert expected(exact).error_of(exact) == 0.0
    assert expected(exact).error_of(exact.float()) == 0.0
    assert expected(exact).error_of(exact + 1) is None
    assert expected(exact).error_of(exact.flatten()) is None


def test_parts_count_by_their_own_size_where_further_runs_say_how_far_off_they_may_be() -> None:
    generator = torch.Generator().manual_seed(0)
    node, sizes = fx.Graph().placeholder("x"), torch.tensor([1.0, 1e-7, 1.0])
    exact = torch.randn(6, 3, dtype=torch.float64, generator=generator) * sizes
    wrong = exact.float() * torch.tensor([1.0, 1.01, 1.0])
    whole = Expected.of(node, exact, [exact.float()])
    assert whole.error_of(wrong) is not None
    assert whole.wrong_part(wrong) is None
    of_parts = Expected.of(node, exact, [exact.float(), exact.float() * (1 + 1e-7)])
    assert of_parts.error_of(exact.float()) is not None
    assert of_parts.error_of(wrong) is None
    found = of_parts.wrong_part(wrong)
    assert found is not None
    assert found.name == "channel 1"

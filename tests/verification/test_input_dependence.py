"""An output that is computed from an input's numbers has to move; one of its sizes need not."""

import pytest
import torch
from torch import Tensor

from bnconvert.verification.input_dependence import InputDependence


def watched(x: Tensor) -> tuple[set[int], int]:
    with InputDependence([x]) as watch:
        kept = torch.zeros(3)
        kept[1] = x[0]
        outputs = [
            x + 1, (x > 5).nonzero(), x.argmax(), torch.ones_like(x), x.new_zeros(2),
            torch.arange(len(x)), x[1:].view(-1), kept, torch.full((2,), 3.0),
        ]  # fmt: skip
    return watch.among(outputs), len(outputs)


def test_values_are_followed_through_views_writes_and_comparisons() -> None:
    assert watched(torch.randn(4))[0] == {0, 1, 2, 6, 7}


def test_where_a_number_becomes_pythons_every_output_may_depend_on_it() -> None:
    x = torch.randn(4)
    with InputDependence([x]) as watch:
        outputs = [torch.full((2,), x.sum().item())]
    assert watch.among(outputs) == {0}


@pytest.mark.parametrize("count", [1, 50])
def test_memory_that_is_used_again_is_not_taken_for_theirs(count: int) -> None:
    x = torch.randn(1000)
    with InputDependence([x]) as watch:
        for _ in range(count):
            x * 2
        outputs = [torch.zeros(1000) for _ in range(10)]
    assert watch.among(outputs) == set()

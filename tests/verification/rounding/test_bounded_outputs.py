"""Values of bounded functions are rounded relative to their range."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.numerics.distance import bounded_rounding_error
from bnconvert.verification.rounding.bounded_outputs import BoundedValues, is_bounded
from tests.zoo import trained


@pytest.mark.parametrize("name", ["aten::sigmoid", "aten::sigmoid_", "aten::_softmax", "tanh"])
def test_functions_of_a_range_of_one_are_bounded(name: str) -> None:
    assert is_bounded(name)


@pytest.mark.parametrize("name", ["aten::relu", "aten::log_softmax", "aten::hardsigmoid"])
def test_exact_and_unbounded_ones_are_not(name: str) -> None:
    assert not is_bounded(name)


def test_their_results_are_found_among_outputs_and_so_are_views_of_them() -> None:
    x = torch.randn(2, 3)
    with BoundedValues() as watch:
        gate = torch.sigmoid(x)
        outputs = [x * 2, gate, torch.softmax(x, 1).reshape(6), gate * 2, torch.tanh(x)[0]]
    assert watch.among(outputs) == {1, 2, 4}


def test_memory_that_is_used_again_is_not_taken_for_theirs() -> None:
    with BoundedValues() as watch:
        torch.sigmoid(torch.randn(1000))
        outputs = [torch.zeros(1000) for _ in range(10)]
    assert watch.among(outputs) == frozenset()


def test_the_floor_is_a_unit_of_one_relative_to_the_values() -> None:
    truth = torch.full((4,), 1e-3, dtype=torch.float64)
    eps = torch.finfo(torch.float32).eps
    assert bounded_rounding_error(truth, torch.float32, "norm") == pytest.approx(eps / 1e-3)
    assert bounded_rounding_error(torch.zeros(2), torch.float32, "norm") == 0.0


class Rare(nn.Module):
    """Its outputs are probabilities near 1e-3, as CREPE's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 8, 5), nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 400)
        nn.init.constant_(self.head.bias, -7.0)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.head(self.norm(self.conv(x)).relu().mean(2)))


def test_a_right_file_of_small_probabilities_is_not_flagged_and_a_wrong_one_is(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    model, inputs = trained(Rare()), (torch.randn(2, 2, 30),)
    assert bnc.export(model, inputs, tmp_path / "m.onnx").failures == ()
    with torch.no_grad():
        model.get_parameter("conv.weight")[0] *= 1.01
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, tmp_path / "m.onnx", inputs)

"""The reasons of a model that is folded by its parts speak of these."""

import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.zoo import trained


class Branching(nn.Module):
    """Asks for a number of a tensor, so that only its parts can be captured."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.alone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z: Tensor = self.alone(y if float(y.sum()) > 0 else -y)
        return z


def test_what_a_part_is_given_is_not_called_the_models_input() -> None:
    report = bnc.fold(trained(Branching()), (torch.randn(2, 3, 4, 4),)).report
    (row,) = report.norms
    assert row.outcome == "standing"
    assert "its input is made by the input input_1 of the part alone, not by" in row.reason
    assert "downstream: the output of alone reads it" in row.reason
    assert "the model's" not in row.reason

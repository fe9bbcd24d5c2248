import copy

import torch
from torch import nn

from bnconvert.folding.same_function import first_difference
from bnconvert.graphs.example import Example
from tests.zoo import IMAGE


def test_rounding_is_no_difference_and_another_weight_is_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_parameter("0.weight").div_(3)
        other.get_parameter("0.bias").div_(3)
        other.get_parameter("2.weight").mul_(3)
    example = Example.of((IMAGE[0],))
    assert first_difference(model, other, example) is None
    with torch.no_grad():
        other.get_parameter("2.weight")[0, 0, 0, 0] += 1e-3
    found = first_difference(model, other, example)
    assert found is not None
    assert found[0] == 0

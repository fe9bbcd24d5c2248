import pytest
import torch
from torch import nn

from bnconvert.modules.running_statistics import held_statistics


@pytest.mark.parametrize(
    "names", [("running_mean", "running_std"), ("moving_mean", "moving_variance")]
)
@pytest.mark.parametrize("how", ["buffer", "parameter", "attribute"])
def test_statistics_are_found_by_their_names_however_they_are_held(
    names: tuple[str, str], how: str
) -> None:
    module = nn.Module()
    for name in names:
        value = torch.ones(3)
        if how == "buffer":
            module.register_buffer(name, value)
        elif how == "parameter":
            module.register_parameter(name, nn.Parameter(value))
        else:
            setattr(module, name, value)
    held = held_statistics(module)
    assert held is not None
    assert [len(tensor) for tensor in held] == [3, 3]


def test_one_of_two_is_not_enough_and_none_is_nothing() -> None:
    module = nn.Module()
    module.register_buffer("running_mean", torch.ones(3))
    module.register_buffer("running_var", None)
    assert held_statistics(module) is None
    assert held_statistics(nn.BatchNorm2d(3, track_running_stats=False)) is None

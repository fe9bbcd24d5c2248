"""Whoever sets the modes of modules for a while gives them back."""

import pytest
from torch import nn

from bnconvert.modules.modes import kept_modes


def fail_in_eval_mode(model: nn.Module) -> None:
    with kept_modes(model.modules()):
        model.eval()
        raise KeyError


def test_each_module_has_its_mode_again_also_after_an_error() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2).eval())
    before = [module.training for module in model.modules()]
    assert before == [True, True, False]
    with pytest.raises(KeyError):
        fail_in_eval_mode(model)
    assert [module.training for module in model.modules()] == before


def test_modules_that_are_not_named_keep_what_they_are_set_to() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    with kept_modes([model]):
        model.eval()
    assert [module.training for module in model.modules()] == [True, False]

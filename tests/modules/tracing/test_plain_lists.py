"""Norms that a plain list of a module holds, and what to do about it."""

import types
from collections import deque
from typing import Any

from torch import nn

from bnconvert.modules.tracing.hidden_references import hidden_references
from tests.modules.tracing.test_hidden_references import place_of
from tests.zoo import HeldInList, Net


def test_a_norm_that_a_plain_list_holds_is_found() -> None:
    model: Any = HeldInList()  # its attribute takes other kinds of values
    assert place_of(model, model.norm) == "norms"
    proxy = types.MappingProxyType({"norm": model.norm})
    for value in ({"deep": ([model.norm],)}, deque([model.norm]), {model.norm: "name"}, proxy):
        model.norms = value
        assert place_of(model, model.norm) == "norms"
    model.norms = None
    object.__setattr__(model, "shortcut", model.norm)
    assert place_of(model, model.norm) == "shortcut"
    assert hidden_references(Net(), [Net().norm]) == {}


def test_a_module_outside_of_the_tree_may_hold_the_norm() -> None:
    model: Any = Net()
    model.outside = [nn.Sequential(model.norm)]
    assert place_of(model, model.norm) == "outside"


def test_a_list_may_be_called_like_a_table_of_torch() -> None:
    model = nn.Sequential(nn.BatchNorm2d(4))
    object.__setattr__(model, "_norm_modules", [model[0]])
    assert place_of(model, model[0]) == "_norm_modules"


def test_only_a_container_can_become_a_module_list() -> None:
    model: Any = Net()
    model.held, norm = [model.norm], model.norm
    assert "ModuleList" in hidden_references(model, [norm])[id(norm)].refusal.remedy
    model.held = [model.norm.forward]
    assert "as in model.norm" in hidden_references(model, [norm])[id(norm)].refusal.remedy

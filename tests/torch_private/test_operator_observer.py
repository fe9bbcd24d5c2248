import gc
import weakref
from typing import Any

import pytest
import torch
from torch import nn

from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import base_name


class Names(OperatorObserver):
    """Notes the names of operators."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.seen.append(base_name(operator))
        return super().run_operator(operator, args, kwargs)


def test_operators_are_seen_while_it_is_entered_and_their_results_stay() -> None:
    x = torch.randn(2, 3)
    with Names() as names:
        y = torch.sigmoid(x) + 1
    torch.tanh(x)
    assert names.seen == ["sigmoid", "add"]
    assert torch.equal(y, torch.sigmoid(x) + 1)


def test_composite_operators_are_seen_as_what_they_consist_of() -> None:
    with Names() as names:
        nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3), torch.ones(4))
    assert "linear" not in names.seen
    assert "addmm" in names.seen


def test_what_it_calls_itself_is_not_observed() -> None:
    class Curious(Names):
        def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            torch.tanh(x)
            return super().run_operator(operator, args, kwargs)

    x = torch.ones(1)
    with Curious() as names:
        torch.sigmoid(x)
    assert names.seen == ["sigmoid"]


def test_it_can_be_entered_again_also_after_a_failure() -> None:
    names, x = Names(), torch.ones(1)
    with pytest.raises(KeyError), names:
        raise KeyError
    torch.tanh(x)
    with names:
        torch.sigmoid(x)
    assert names.seen == ["sigmoid"]


def test_nothing_keeps_it_once_it_is_left() -> None:
    names = Names()
    gc.disable()
    try:
        with names:
            torch.ones(1)
        reference = weakref.ref(names)
        del names
        assert reference() is None
    finally:
        gc.enable()


def test_it_says_whether_an_operator_on_functions_ran() -> None:
    x = torch.ones(1)
    with Names() as names:
        torch.sigmoid(x)
        assert not names.calls_regions
        torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))
    assert names.calls_regions
    assert names.seen[-1] == "sin"

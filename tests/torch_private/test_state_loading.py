from collections.abc import Collection, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from bnconvert.torch_private.state_loading import StateLoading


class Scale(StateLoading):
    """Has an inverse that checkpoints lack, and no use for the counter that they have."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("inverse", torch.ones(1))

    def missing_state(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        return {} if "inverse" in state else {"inverse": 1 / state["scale"]}

    def unused_names(self) -> Collection[str]:
        return ("counter",)


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 1), nn.Sequential(Scale()))


def checkpoint(model: nn.Module, **changes: float | None) -> dict[str, Any]:
    state = dict(model.state_dict())
    for name, value in changes.items():
        key = f"1.0.{name}"
        state.pop(key, None)
        if value is not None:
            state[key] = torch.tensor([value])
    return state


def test_what_a_checkpoint_lacks_is_made_of_what_it_has(model: nn.Module) -> None:
    model.load_state_dict(checkpoint(model, scale=4.0, inverse=None))
    assert model.get_buffer("1.0.inverse") == 0.25


def test_what_a_checkpoint_has_is_loaded_as_it_is(model: nn.Module) -> None:
    model.load_state_dict(checkpoint(model, scale=4.0, inverse=7.0))
    assert model.get_buffer("1.0.inverse") == 7


def test_unused_entries_pass_a_strict_load_and_unknown_ones_do_not(model: nn.Module) -> None:
    model.load_state_dict(checkpoint(model, counter=1.0))
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "1.0.other"'):
        model.load_state_dict(checkpoint(model, counter=1.0, other=1.0))


def test_the_checkpoint_itself_is_not_changed(model: nn.Module) -> None:
    state = checkpoint(model, inverse=None, counter=1.0)
    names = set(state)
    model.load_state_dict(state)
    assert set(state) == names

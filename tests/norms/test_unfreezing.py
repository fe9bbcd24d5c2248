"""What a frozen norm does where its parameters are made to require gradients again."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.norms.frozen import FrozenNorm
from tests.norms.test_frozen import train
from tests.submodules import submodule
from tests.zoo import build


def unfreeze_by_hand(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.requires_grad = True


def load_and_unfreeze(model: nn.Module) -> None:
    model.load_state_dict({name: t.clone() for name, t in model.state_dict().items()}, assign=True)
    model.requires_grad_(True)


UNFREEZING: dict[str, Callable[[nn.Module], object]] = {
    "the root": lambda model: model.requires_grad_(True),
    "the norm": lambda model: model.get_submodule("norm").requires_grad_(True),
    "each parameter": unfreeze_by_hand,
    "after a checkpoint": load_and_unfreeze,
    "modes": lambda model: model.requires_grad_(True).eval().train(),
}


@pytest.mark.parametrize("unfreeze", UNFREEZING.values(), ids=UNFREEZING)
@pytest.mark.parametrize("copied", [False, True], ids=["", "a copy"])
def test_frozen_stays_frozen_whatever_makes_it_require_gradients(
    unfreeze: Callable[[nn.Module], object], copied: bool
) -> None:
    model = bnc.convert(build("plain")[0], bnc.Frozen()).train()
    unfreeze(model)
    model = copy.deepcopy(model) if copied else model
    norm = submodule(model, "norm", FrozenNorm)
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    train(model, steps=3)
    assert all(torch.equal(before[name], t) for name, t in norm.state_dict().items())
    assert all(p.grad is None for p in norm.parameters())
    assert "frozen=(statistics, affine), ignores requires_grad=True of weight and bias" in repr(
        norm
    )
    model.requires_grad_(False)
    assert "ignores" not in repr(norm)


@pytest.mark.parametrize("unfreeze", UNFREEZING.values(), ids=UNFREEZING)
def test_it_is_frozen_anew_where_its_parameters_require_gradients(
    unfreeze: Callable[[nn.Module], object],
) -> None:
    model = bnc.convert(build("plain")[0], bnc.Frozen())
    unfreeze(model)
    again = bnc.convert(model, bnc.Frozen())
    assert not any(p.requires_grad for p in again.get_submodule("norm").parameters())
    assert again.get_parameter("conv.weight").requires_grad
    learning = bnc.convert(model, bnc.Frozen(affine="trainable"))
    train(learning, steps=1)
    assert not torch.equal(
        learning.get_parameter("norm.weight"), model.get_parameter("norm.weight")
    )

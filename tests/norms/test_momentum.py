import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn

import bnconvert as bnc
from tests.zoo import Net, trained


def momenta(model: nn.Module) -> list[Any]:
    return [m.momentum for m in model.modules() if hasattr(m, "momentum")]


@pytest.mark.parametrize(
    "choice",
    [
        bnc.Keep(),
        bnc.Sync(),
        bnc.Ghost(2),
        bnc.Renorm(),
        bnc.Separate(),
        bnc.Separate(each=bnc.Ghost(2), affine="separate"),
        bnc.Adaptive(),
    ],
    ids=repr,
)
def test_a_momentum_reaches_every_norm_that_averages(choice: Any) -> None:
    torch.manual_seed(0)
    model = bnc.convert(trained(Net()), choice).train()
    x = torch.randn(4, 3, 5, 4) + 3
    bnc.set_momentum(model, 1.0)
    model(x)
    moved = model.get_buffer("norm.running_mean").clone()
    bnc.set_momentum(model, 0.0)
    model(x * 2)
    assert torch.equal(model.get_buffer("norm.running_mean"), moved)
    assert set(momenta(model)) == {0.0}


def test_every_domain_gets_it() -> None:
    model = bnc.convert(trained(Net()), bnc.Separate())
    bnc.set_momentum(model, 1.0)
    x = torch.randn(4, 3, 5, 4) + 3
    with bnc.domain(model, "target"):
        model.train()(x)
    target = bnc.revert(model, domain="target")
    kept = model.get_submodule("conv")(x).mean((0, 2, 3))
    torch.testing.assert_close(target.get_buffer("norm.running_mean"), kept)


def test_frozen_norms_keep_theirs_for_revert() -> None:
    model = bnc.convert(nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4)), FIRST_FROZEN)
    bnc.set_momentum(model, None)
    assert momenta(bnc.revert(model)) == [0.1, None]


def test_what_is_no_share_is_refused_and_nothing_changes() -> None:
    model = Net()
    with pytest.raises(ValueError, match="momentum is 99; use torch's convention, between 0 and 1"):
        bnc.set_momentum(model, 99)
    assert model.norm.momentum == 0.1


FIRST_FROZEN = bnc.Policy({"0": bnc.Frozen(), "1": bnc.Keep()})


@pytest.mark.parametrize(
    ("momentum", "steps"), [*itertools.product([0.1, 0.01, 1.0, 0.0], [1, 2, 8])]
)
def test_so_many_updates_move_as_far_as_one(momentum: float, steps: int) -> None:
    share = bnc.accumulated_momentum(momentum, steps)
    value = 0.0
    for _ in range(steps):
        value = (1 - share) * value + share * 1.0
    assert math.isclose(value, momentum, rel_tol=1e-12, abs_tol=1e-12)

"""torch's `reset_parameters` makes every norm one that has seen nothing (folds, restarts)."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite
from tests.test_every_norm import CHOICES, IMAGES
from tests.zoo import Net


def reset(model: nn.Module) -> None:
    """Do what many training scripts do between folds."""
    for module in model.modules():
        method: Any = getattr(module, "reset_parameters", None)
        if method is not None:
            method()


@pytest.mark.parametrize("choice", CHOICES, ids=repr)
def test_a_norm_that_is_reset_is_as_a_new_one(choice: Rewrite) -> None:
    new = bnc.convert(Net(), choice)
    model = copy.deepcopy(new)
    model.norm.requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()(IMAGES * 3 + 2).square().mean().backward()
    optimizer.step()
    model(torch.full_like(IMAGES, torch.inf))  # is counted by itself
    model.eval()(IMAGES * 3 + 2)
    reset(model)
    wanted = {name: tensor for name, tensor in new.named_buffers() if name.startswith("norm.")}
    wanted |= {name: tensor for name, tensor in new.named_parameters() if name.startswith("norm.")}
    found = {**dict(model.named_buffers()), **dict(model.named_parameters())}
    assert wanted
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_resetting_the_statistics_of_a_norm_resets_all_of_its_domains() -> None:
    norm = bnc.convert(nn.BatchNorm2d(3), bnc.Separate(("day", "night")))
    with bnc.domain(norm, "night"):
        norm(IMAGES)
    norm.reset_running_stats()
    assert all(not mean.any() for name, mean in norm.named_buffers() if "running_mean" in name)

"""What a trace saw once is a fact only where every forward does it."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.modules.survey import survey

DRAWS: dict[str, Callable[[], float]] = {
    "torch": lambda: float(torch.rand(())),
    "python": random.random,
    "numpy": lambda: float(np.random.random()),
}


class Skipping(nn.Module):
    """Skips a block in training, now and then (stochastic depth, LayerDrop)."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.draw, self.block = draw, nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.draw() < 0.5:
            return x
        return torch.add(x, self.block(x))


@pytest.mark.parametrize("name", DRAWS)
def test_a_module_that_draws_its_way_is_closed_and_called_by_what_is_around(name: str) -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), Skipping(DRAWS[name]))
    for seed in range(4):
        torch.manual_seed(seed), random.seed(seed), np.random.seed(seed)
        found = survey(model)
        assert list(found.untraceable) == ["1"]
        assert "draws random numbers, and may call other" in found.untraceable["1"]
        assert [site.observed_calls for site in found.sites] == [1, None]
        assert [f.id for f in bnc.inspect(model).findings] == ["BN020", "BN114"]
    assert survey(model.eval()).untraceable == {}


def test_in_a_root_that_draws_nothing_is_known_of_calls() -> None:
    found = survey(Skipping(random.random))
    assert list(found.untraceable) == [""]
    assert [site.observed_calls for site in found.sites] == [None]


def test_what_the_graph_draws_itself_closes_nothing() -> None:
    class Dropping(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(super().forward(x + torch.randn_like(x)), 0.3, self.training)

    found = survey(Dropping(nn.BatchNorm1d(4), nn.Dropout(0.5)))
    assert found.untraceable == {}
    assert [site.observed_calls for site in found.sites] == [1]

"""Weights from which no output is computed, for no input of the sizes that were tried."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example
from bnconvert.verification.weights.weight_dependence import weights_without_outputs
from tests.zoo import trained

X = Example.of((torch.randn(2, 4, generator=torch.Generator().manual_seed(0)),))
Forward = Callable[["Weighted", Tensor], Any]


class Weighted(nn.Module):
    """A layer and a norm that are used, one of each whose use is to be found out."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.used, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.asked, self.other = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._forward(self, self.norm(self.used(x)))
        return y


ALL = {"asked.weight", "asked.bias", "other"}


def drops(m: Weighted, y: Tensor) -> Any:
    m.other(m.asked(y)).sum()
    return y


def asks_constant_zeros(m: Weighted, y: Tensor) -> Any:
    return y + m.asked(torch.zeros_like(y)) + m.other(y)


def attends_to_one(m: Weighted, y: Tensor) -> Any:
    return y * m.other(m.asked(y))[..., None].softmax(-1)[..., 0]


def attends_to_rows(m: Weighted, y: Tensor) -> Any:
    return y * m.other(m.asked(y)).softmax(0)


def adds(m: Weighted, y: Tensor) -> Any:
    return y + m.other(m.asked(y))


def thresholds(m: Weighted, y: Tensor) -> Any:
    return torch.where(m.other(m.asked(y)) > 1e9, 0.0, y)


def asks_in_python(m: Weighted, y: Tensor) -> Any:
    return y if float(y.sum()) < 1e9 else m.other(m.asked(y))


def asks_in_a_region(m: Weighted, y: Tensor) -> Any:
    return torch.cond(y.sum() < 1e9, lambda z: z + 1, lambda z: m.asked(z), (y,))


def asks_for_some_rows(m: Weighted, y: Tensor) -> Any:
    rows = y[y[:, 0] > -1e9]
    return y + rows.sum() + m.asked(torch.zeros_like(rows)).sum() * m.other.weight.sum()


def is_decided_by_weights(m: Weighted, y: Tensor) -> Any:
    chosen = m.other.weight[m.asked.weight[0] > m.asked.bias]
    return y * len(chosen)


FORWARDS: dict[str, tuple[Forward, set[str]]] = {
    "their result is dropped": (drops, ALL),
    "they meet constant zeros": (asks_constant_zeros, {"asked.weight"}),
    "a softmax over one element": (attends_to_one, ALL),
    "a softmax over the rows": (attends_to_rows, set()),
    "they are added": (adds, set()),
    "they only decide": (thresholds, set()),
    "Python decides by the input": (asks_in_python, set()),
    "a region is not seen whole": (asks_in_a_region, set()),
    "the input decides a size": (asks_for_some_rows, set()),
    "they decide a size": (is_decided_by_weights, set()),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_where(name: str) -> None:
    forward, found = FORWARDS[name]
    assert weights_without_outputs(trained(Weighted(forward)), [X], ALL) == found


def test_a_size_at_which_they_matter_counts() -> None:
    model, one = trained(Weighted(attends_to_rows)), Example.of((X.args[0][:1],))
    assert weights_without_outputs(model, [one], ALL) == ALL
    assert weights_without_outputs(model, [one, X], ALL) == set()

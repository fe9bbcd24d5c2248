"""Searches for layers that take a norm end, however many ways lead through the graph."""

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.folding.fixpoint import fold_graph
from bnconvert.folding.operators import propagation
from bnconvert.graphs.aten import norm_calls
from bnconvert.graphs.mutable_graph import MutableGraph
from tests.excerpts import capture_of
from tests.zoo import trained


class Ladder(nn.Module):
    """Two values that are added to each other again and again: the ways between them double."""

    def __init__(self, kind: str, above: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.norm.get_buffer("running_mean").add_(torch.arange(4.0))
        self.kind, self.above = kind, above

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = self.norm(x.sin()) if self.above else self.first(x)
        b = a if self.above else self.second(x)
        for _ in range(40):
            if self.kind == "butterfly":
                a, b = a + b.flip(0), b - a.flip(0)
            elif self.kind == "dense":
                a, b = a + b, torch.cat([a, b], 1)[:, :4]
            elif self.kind == "double":
                a = a + a.flip(0)
            else:
                a, b = b, a + b
        return (self.second(a) if self.above else self.norm(a)), b.sin()


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("kind", ["butterfly", "dense", "double", "fibonacci"])
def test_no_search_grows_with_the_number_of_ways_through_the_graph(kind: str, above: bool) -> None:
    model, x = Ladder(kind, above).eval(), torch.rand(3, 4, dtype=torch.float64)
    fixed = {"x": None}
    folded = bnc.fold(model.double(), {"x": x}, dynamic_shapes=fixed)
    torch.testing.assert_close(folded.module(x=x), model(x), rtol=1e-9, atol=1e-9)


def test_a_search_that_is_ended_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagation, "_MOST_STEPS", 3)
    model = nn.Sequential(nn.Linear(4, 4), *[nn.Unflatten(1, (1, 4)), nn.Flatten()] * 3)
    model.append(nn.BatchNorm1d(4))
    (row,) = bnc.fold(trained(model), (torch.rand(2, 4),)).report.norms
    assert "was ended after" in row.reason


class Far(nn.Module):
    """A layer, many operators that a scale and a shift may pass, and a norm."""

    def __init__(self, kind: str, operators: int) -> None:
        super().__init__()
        self.kind, self.operators = kind, operators
        self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        for _ in range(self.operators):
            if self.kind == "views":
                x = x.flip(0).flip(0)
            elif self.kind == "activations":
                x = x.relu()
            else:
                x = x + x.sin()
        y: Tensor = self.norm(x).sin()
        return y


@pytest.mark.parametrize(
    ("kind", "operators"), [("views", 60), ("activations", 120), ("residual", 110)]
)
def test_a_search_ends_before_python_does(kind: str, operators: int) -> None:
    model, x = trained(Far(kind, operators)), torch.rand(2, 4)
    module = capture_of(model, (x,)).module
    (outcome,) = fold_graph(MutableGraph(module), norm_calls(module))
    assert not outcome.is_folded
    torch.testing.assert_close(module(x), model(x))


def test_a_layer_that_is_too_far_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagation, "_MOST_DEPTH", 6)
    reasons = [
        bnc.fold(trained(Far("views", n)), (torch.rand(2, 4),)).report.norms[0].reason
        for n in (2, 3)
    ]
    assert "operators away" not in reasons[0]
    assert "operators away" in reasons[1]


class Fan(nn.Module):
    def __init__(self, norms: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.norms = nn.ModuleList(nn.BatchNorm1d(4) for _ in range(norms))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return torch.stack([norm(x).sin() for norm in self.norms])


def test_an_addition_is_taken_back_in_a_bounded_number_of_norms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(propagation, "_MOST_CONSUMERS", 3)
    for norms, moved in ((4, True), (5, False)):
        model, x = trained(Fan(norms)), torch.rand(2, 4)
        folded = bnc.fold(model, (x,))
        assert ("into layer" in str(folded.report)) == moved
        torch.testing.assert_close(folded.module(x), model(x))

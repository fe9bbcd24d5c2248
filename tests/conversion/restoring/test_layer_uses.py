import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bnconvert.conversion.restoring.layer_uses import (
    calls_of,
    identity_after,
    is_output,
    normalizing,
)


class Net(nn.Module):
    """Each layer's output is read in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.normed, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.functional = nn.Conv2d(4, 4, 1)
        self.marked, self.place = nn.Conv2d(4, 4, 1), nn.Identity()
        self.twice, self.shared = nn.Conv2d(4, 4, 1), nn.Identity()
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(self.functional(self.bn(self.normed(x))), [4, 5, 5])
        x = self.place(self.marked(x)).relu()
        x = self.shared(self.shared(self.twice(self.twice(x).relu())))
        y: Tensor = self.head(F.gelu(x)).sigmoid()
        return y


@pytest.fixture(scope="module")
def net() -> Net:
    return Net()


@pytest.fixture(scope="module")
def graph(net: Net) -> fx.Graph:
    class Leaves(fx.Tracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            return True

    return Leaves().trace(net)


def test_calls_are_found_at_every_path_and_without_a_graph_there_are_none(graph: fx.Graph) -> None:
    assert len(list(calls_of(("twice",), graph))) == 2
    assert len(list(calls_of(("marked", "head"), graph))) == 2
    assert list(calls_of(("idle",), graph)) == []
    assert list(calls_of(("marked",), None)) == []


def test_a_norm_that_reads_the_output_is_seen_as_module_and_as_function(
    net: Net, graph: fx.Graph
) -> None:
    found = {
        path: normalizing(next(calls_of((path,), graph)), net)
        for path in ("normed", "functional", "marked", "head")
    }
    assert found == {"normed": "bn", "functional": "layer_norm", "marked": None, "head": None}


def test_an_identity_marks_a_place_where_it_is_the_only_reader_and_reads_nothing_else(
    net: Net, graph: fx.Graph
) -> None:
    assert identity_after(next(calls_of(("marked",), graph)), net) == "place"
    assert identity_after(list(calls_of(("twice",), graph))[1], net) is None  # two calls of it
    assert identity_after(next(calls_of(("head",), graph)), net) is None


def test_an_output_layer_is_one_that_no_layer_and_no_rectifier_follows(
    net: Net, graph: fx.Graph
) -> None:
    found = {
        path: is_output(next(calls_of((path,), graph)), net)
        for path in ("normed", "marked", "twice", "head")
    }
    assert found == {"normed": False, "marked": False, "twice": False, "head": True}
    assert torch.isfinite(net(torch.ones(1, 3, 5, 5))).all()  # it is a network that runs

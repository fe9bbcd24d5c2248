"""The work of a verb grows with the number of norms, not with its square; counted, not timed."""

import cProfile
import pstats
from collections.abc import Callable
from math import log

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.folding.fixpoint import fold_graph
from bnconvert.graphs.aten import norm_calls
from bnconvert.graphs.capturing import capture
from bnconvert.graphs.example import Example
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.modules.copying import copy_graph
from tests.zoo import trained

SIZES = 15, 60


def chain(norms: int) -> nn.Module:
    blocks = (m for _ in range(norms) for m in (nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU()))
    return trained(nn.Sequential(*blocks))


class Fan(nn.Module):
    """Many norms read one value."""

    def __init__(self, norms: int) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.norms = nn.ModuleList(nn.BatchNorm1d(4) for _ in range(norms))
        self.heads = nn.ModuleList(nn.Linear(4, 2) for _ in range(norms))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return torch.stack([h(n(x).relu()) for n, h in zip(self.norms, self.heads, strict=True)])


def fan(norms: int) -> nn.Module:
    return trained(Fan(norms))


def slope(prepared: Callable[[int], Callable[[], object]]) -> float:
    """Return the exponent with which the number of calls of Python functions grows."""
    counts = []
    for size in SIZES:
        work, profile = prepared(size), cProfile.Profile()
        work()
        profile.runcall(work)
        counts.append(vars(pstats.Stats(profile))["total_calls"])
    return log(counts[1] / counts[0]) / log(SIZES[1] / SIZES[0])


VERBS: dict[str, Callable[[nn.Module], object]] = {
    "inspect": bnc.inspect,
    "plan": lambda model: bnc.plan(model, bnc.Frozen()),
    "convert": lambda model: bnc.convert(model, bnc.Frozen()),
    "convert to group norm": lambda model: bnc.convert(model, bnc.Group(2)),
    "convert by rules": lambda model: bnc.convert(
        model, bnc.Policy({"*1*": bnc.Frozen(), "*": bnc.Ghost(2) | bnc.Keep()})
    ),
    "revert": lambda model: bnc.revert(bnc.convert(model, bnc.Frozen())),
    "recompute": lambda model: bnc.recompute_statistics(model, [torch.rand(4, 4)]),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_grows_linearly(verb: str) -> None:
    def prepared(size: int) -> Callable[[], object]:
        model = chain(size)
        return lambda: VERBS[verb](model)

    assert slope(prepared) <= 1.15


class Residual(nn.Module):
    """Pre-activation blocks: what one norm adds could be taken back in all blocks downstream."""

    def __init__(self, norms: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm1d(4) for _ in range(norms))
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(norms))

    def forward(self, x: Tensor) -> Tensor:
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x).relu())
        return x


def residual(norms: int) -> nn.Module:
    return trained(Residual(norms))


@pytest.mark.slow
@pytest.mark.parametrize("build", [chain, fan, residual])
def test_the_folds_grow_linearly(build: Callable[[int], nn.Module]) -> None:
    """Without the capture, most of which is torch's own."""

    def prepared(size: int) -> Callable[[], object]:
        graph = capture(build(size), Example.of((torch.rand(2, 4),))).module

        def work() -> None:
            module = copy_graph(graph)
            fold_graph(MutableGraph(module), norm_calls(module))

        return work

    assert slope(prepared) <= 1.15

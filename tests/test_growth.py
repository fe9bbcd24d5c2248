"""The work of a verb grows with the number of norms, not with its square; counted, not timed."""

import cProfile
import gc
import pstats
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from math import log
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.folding.fixpoint import fold_graph
from bnconvert.graphs.aten import norm_calls
from bnconvert.graphs.capture.capturing import capture
from bnconvert.graphs.example import Example
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.modules.copies.copying import copy_graph
from tests.benchmarks import growth
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


def lines_by_function(work: Callable[[], object]) -> Counter[str]:
    """Count the lines of the package that are run; each round of a comprehension is one."""
    counts: Counter[str] = Counter()
    package = str(Path(bnc.__file__).parent)

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(package):
            return None
        name = f"{code.co_filename.removeprefix(package)}: {code.co_qualname}"

        def count(_: FrameType, event: str, __: Any) -> Any:
            counts[name] += event == "line"
            return count

        return count

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("build", [chain, residual])
def test_no_function_of_a_fold_grows_with_the_square(build: Callable[[int], nn.Module]) -> None:
    """Of the report, too: sixty norms hide there what costs minutes with five thousand."""
    few, many = (
        lines_by_function(partial(bnc.fold, model, (torch.rand(2, 4),)))
        for model in map(build, SIZES)
    )
    times = SIZES[1] / SIZES[0]
    fast = {name: (few[name], n) for name, n in many.items() if n > 1.6 * times * few[name]}
    assert {name: counts for name, counts in fast.items() if counts[1] > 10 * SIZES[1]} == {}


def calls_by_function(work: Callable[[], object]) -> Counter[str]:
    """Count the calls of Python functions, those of the libraries included.

    The garbage collector, which calls back at any time whatever dies then, waits.
    """
    profile = cProfile.Profile()
    gc.collect()
    gc.disable()
    try:
        profile.runcall(work)
    finally:
        gc.enable()
    figures = vars(pstats.Stats(profile))["stats"]
    return Counter(
        {f"{file}: {name}": calls for (file, _, name), (_, calls, *_) in figures.items()}
    )


@pytest.mark.slow
def test_no_function_of_an_export_is_called_with_the_square(tmp_path: Path) -> None:
    def prepared(size: int) -> Callable[[], object]:
        model = trained(growth.Residual(size))
        return lambda: bnc.export(model, (torch.rand(8, 4),), tmp_path / f"{size}.onnx")

    prepared(2)()
    few, many = (calls_by_function(prepared(size)) for size in SIZES)
    times = SIZES[1] / SIZES[0]
    fast = {name: (few[name], n) for name, n in many.items() if n > 1.6 * times * few[name]}
    assert {name: counts for name, counts in fast.items() if counts[1] > 30 * SIZES[1]} == {}

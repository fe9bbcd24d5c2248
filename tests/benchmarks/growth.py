"""How time and memory of each verb grow with the number of norms; run by hand.

    python -m tests.benchmarks.growth [--sizes 100 1000 3000 5000] [--json growth.json]

Each figure is of a process of its own: CPU seconds of the verb alone, and by how much the peak of
its memory rose meanwhile. The slope is that of a line through the logarithms; linear is 1. What
torch does by itself is measured apart: to capture a model, and to write it as ONNX.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.modules.survey import survey
from tests.benchmarks.rivals import torch_onnx
from tests.zoo import trained

FEATURES, ROWS = 4, 8


class Chain(nn.Sequential):
    """A norm after each of many layers."""

    def __init__(self, norms: int) -> None:
        blocks = ([nn.Linear(FEATURES, FEATURES), nn.BatchNorm1d(FEATURES), nn.ReLU()] for _ in
                  range(norms))  # fmt: skip
        super().__init__(*(module for block in blocks for module in block))


class Fan(nn.Module):
    """Many norms that read one value."""

    def __init__(self, norms: int) -> None:
        super().__init__()
        self.stem = nn.Linear(FEATURES, FEATURES)
        self.norms = nn.ModuleList(nn.BatchNorm1d(FEATURES) for _ in range(norms))
        self.heads = nn.ModuleList(nn.Linear(FEATURES, 2) for _ in range(norms))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return torch.stack([h(n(x).relu()) for n, h in zip(self.norms, self.heads, strict=True)])


class Residual(nn.Module):
    """Blocks that each add a little: every norm moves the output, so that a file can be proven."""

    def __init__(self, norms: int) -> None:
        super().__init__()
        blocks = ([nn.Linear(FEATURES, FEATURES), nn.BatchNorm1d(FEATURES), nn.Tanh()] for _ in
                  range(norms))  # fmt: skip
        self.blocks = nn.ModuleList(nn.Sequential(*block) for block in blocks)
        self.part = norms**-0.5

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + self.part * block(x)
        return x


def _exported(model: nn.Module) -> object:
    with tempfile.TemporaryDirectory() as folder:
        return bnc.export(model, (torch.rand(ROWS, FEATURES),), Path(folder) / "model.onnx")


def _written_by_torch(model: nn.Module) -> None:
    with tempfile.TemporaryDirectory() as folder:
        example = Example.of((torch.rand(ROWS, FEATURES),))
        torch_onnx(model, example, Path(folder) / "model.onnx")


MODELS: dict[str, Callable[[int], nn.Module]] = {"chain": Chain, "fan": Fan, "residual": Residual}
VERBS: dict[str, Callable[[nn.Module], object]] = {
    "survey": survey,
    "plan": lambda model: bnc.plan(model, bnc.Frozen()),
    "convert": lambda model: bnc.convert(model, bnc.Frozen()),
    "revert": bnc.revert,
    "recompute": lambda model: bnc.recompute_statistics(model, [torch.rand(ROWS, FEATURES)] * 2),
    "torch.export": lambda model: torch.export.export(
        model, (torch.rand(ROWS, FEATURES),), dynamic_shapes=({0: torch.export.Dim.AUTO},)
    ),
    "fold": lambda model: bnc.fold(model, (torch.rand(ROWS, FEATURES),)),
    "torch.onnx": _written_by_torch,
    "export": _exported,
}
#: The outputs of the other models do not depend on all their norms: no file of them is proven.
ONLY_RESIDUAL = "torch.onnx", "export"


def measure(model: str, verb: str, norms: int) -> dict[str, Any]:
    """Return the figures of one verb on one model, in this process."""
    VERBS[verb](trained(MODELS[model](1)))  # imports, and what is done once
    made = trained(MODELS[model](norms))
    if verb == "revert":
        made = bnc.convert(made, bnc.Frozen())
    before, began = _peak(), time.process_time()
    VERBS[verb](made)
    seconds = time.process_time() - began
    return {"model": model, "verb": verb, "norms": norms, "seconds": round(seconds, 3),
            "megabytes": round(_peak() - before, 1)}  # fmt: skip


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def slope(figures: list[dict[str, Any]], name: str) -> float:
    """Return the slope of a line of least squares through the logarithms."""
    points: list[tuple[float, float]] = [
        (log(f["norms"]), log(max(f[name], 1e-3))) for f in figures
    ]
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    above = sum((a - x) * (b - y) for a, b in points)
    return float(above / (sum((a - x) ** 2 for a, _ in points) or float("nan")))


def _in_a_process(model: str, verb: str, norms: int) -> dict[str, Any]:
    """Measure in another process, whose memory nothing else has filled."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.growth", "--one",
               f"{model} {verb} {norms}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measure everything, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 3000, 5000])
    parser.add_argument("--verbs", nargs="+", default=list(VERBS))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        model, verb, norms = given.one.split()
        print(json.dumps(measure(model, verb, int(norms))))
        return
    every = []
    for model in given.models:
        for verb in given.verbs:
            if verb in ONLY_RESIDUAL and model != "residual":
                continue
            figures = [_in_a_process(model, verb, size) for size in given.sizes]
            every += figures
            times = "  ".join(f"{f['norms']}: {f['seconds']:.2f} s, {f['megabytes']:.0f} MB"
                              for f in figures)  # fmt: skip
            print(
                f"{model:6} {verb:10} slope {slope(figures, 'seconds'):.2f}   {times}", flush=True
            )
    if given.json:
        given.json.write_text(json.dumps(every, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Rows for equalization: of an error, and of reasons, which are in the pairs."""

from typing import Any

import torch
from torch import nn

import bnconvert as bnc
from tests.remedies.row import Row
from tests.zoo import IMAGE


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Conv2d(4, 2, 1)).eval()


def equalize(model: nn.Module, inputs: Any, **how: Any) -> None:
    """Equalize, and raise the first reason that comes with advice."""
    for pair in bnc.equalize(bnc.fold(model, inputs), **how).pairs:
        if pair.refusal is not None and pair.refusal.remedy:
            raise RuntimeError(str(pair.refusal))


def without_inputs() -> None:
    program = bnc.fold(network(), IMAGE).program()
    assert program is not None
    bnc.equalize(program)


def large(dtype: torch.dtype) -> None:
    layers = nn.Conv2d(3, 1, 1, bias=False), nn.ReLU(), nn.Conv2d(1, 1, 1, bias=False)
    model = nn.Sequential(*layers).to(dtype).eval()
    nn.init.constant_(model.get_parameter("0.weight"), 0.25)
    nn.init.constant_(model.get_parameter("2.weight"), 1.0)
    equalize(model, (torch.full((2, 3, 4, 4), 65000.0, dtype=dtype),))


def both_ways() -> None:
    equalize(network(), IMAGE, relu6="per-channel")
    equalize(network(), IMAGE, relu6="relu")


EQUALIZING = (
    Row(
        "folding/equalizing/equalization.py",
        "the program has no example inputs",
        lambda _: without_inputs(),
        lambda _: equalize(network(), IMAGE, relu6="per-channel"),
    ),
    Row(
        "folding/equalizing/equalization.py",
        "is not folded",
        lambda _: bnc.equalize(network()),  # type: ignore[arg-type]
        lambda _: bnc.equalize(bnc.fold(network(), IMAGE)),
    ),
    Row(
        "folding/equalizing/equalization.py",
        "is not one of",
        lambda _: equalize(network(), IMAGE, relu6="per channel"),
        lambda _: equalize(network(), IMAGE, relu6="per-channel"),
    ),
    Row(
        "folding/equalizing/equalized_graph.py",
        "scaled activations leave the range",
        lambda _: large(torch.float16),
        lambda _: large(torch.float32),
    ),
    Row(
        "folding/equalizing/layer_pair.py",
        "it is not positively homogeneous",
        lambda _: equalize(network(), IMAGE),
        lambda _: both_ways(),
    ),
)

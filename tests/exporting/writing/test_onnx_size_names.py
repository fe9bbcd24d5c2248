"""Inside a file sizes are numbers or open; open ones of images have names where they convolve."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.zoo import trained

IMAGE = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))


class Shuffled(nn.Module):
    """Convolutions, with operators between them that a simplifier removes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.last = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.first(x).flatten(2).transpose(1, 2).transpose(1, 2).transpose(1, 2)
        y: Tensor = self.last(tokens * 1.0)
        return y


def names(values: Iterable[Any]) -> set[str]:
    sizes = (size for value in values for size in value.type.tensor_type.shape.dim)
    return {size.dim_param for size in sizes if size.dim_param}


@pytest.mark.parametrize("opset", [None, 17])
def test_sizes_have_names_outside_and_at_convolutions_only(
    opset: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    assert bnc.export(trained(Shuffled()), (IMAGE,), path, opset=opset).verdict == "agrees"
    graph = onnx.load(path).graph
    assert names(graph.input) == names(graph.output) == {"batch"}
    inside = {v.name for v in graph.value_info if names([v])}
    convolutions = (node for node in graph.node if node.op_type == "Conv")
    assert inside <= {name for node in convolutions for name in (*node.input, *node.output)}
    assert inside


def test_sizes_that_are_numbers_stay(tmp_path: Path) -> None:
    bnc.export(trained(Shuffled()), (IMAGE,), tmp_path / "m.onnx")
    inside = onnx.load(tmp_path / "m.onnx").graph.value_info
    sizes = [[size.dim_value for size in v.type.tensor_type.shape.dim] for v in inside]
    assert [0, 4, 7, 6] in sizes

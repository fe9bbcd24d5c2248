"""ONNX Runtime's own graph of a file is no larger than that of torch's file, simplified.

Its graph is what it runs: operators in blocks of channels, with changes of layout around those that
it has in no such form.
"""

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from tests.benchmarks import rivals
from tests.zoo import trained

IMAGE = torch.randn(2, 16, 12, 12, generator=torch.Generator().manual_seed(0))


class BetweenConvolutions(nn.Sequential):
    """A norm whose addition is left: it passes neither the GELU nor the border of zeros."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(16, 16, 3, padding=1, groups=16),
            nn.GELU(),
            nn.BatchNorm2d(16),
            nn.Conv2d(16, 16, 3, padding=1, groups=16),
        )


class BeforeAnActivation(nn.Module):
    """A pre-activation block: the addition goes up, a multiplication is left."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(16, 32, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(32) for _ in range(2))
        self.layers = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x).relu())
        return x


class ChannelsLast(nn.Module):
    """A head that normalizes channels-last and flattens: changes of shape in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(16, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.body(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        output: Tensor = self.head(y.flatten(1))
        return output


def written(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def run(path: Path) -> Counter[str]:
    """Count the operators of the graph that ONNX Runtime makes of a file."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".run"))
    options.log_severity_level = 3  # it warns that the graph is for this machine only
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return written(path.with_suffix(".run"))


@pytest.mark.parametrize("kind", [BetweenConvolutions, BeforeAnActivation, ChannelsLast])
def test_nothing_is_left_that_a_simplifier_would_have_taken(
    kind: type[nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, example = trained(kind()).eval(), Example.of((IMAGE,))
    ours, bare, slim = (tmp_path / f"{name}.onnx" for name in ("ours", "bare", "slim"))
    bnc.export(model, example, ours)
    rivals.torch_onnx(model, example, bare)
    rivals.onnxslim(bare, slim)
    assert written(ours).total() <= written(slim).total()
    assert run(ours).total() <= run(slim).total()

"""What torch.onnx makes of a program that it need not decompose is what it makes of any."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from bnconvert.exporting.simplification.decomposed_program import DecomposedProgram
from bnconvert.exporting.writing.onnx_file import write
from bnconvert.folding.folding import fold
from bnconvert.torch_private.silence import quiet
from bnconvert.verification.files.onnx_runner import OnnxRunner
from tests.zoo import trained

IMAGE = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))
SHAPES = ({0: Dim("batch")},)


class Shapes(nn.Module):
    """Every composite operator that a folded graph keeps and that ONNX has."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        first, second = x.transpose(1, 2).contiguous().chunk(2, dim=3)
        return first.reshape(x.shape[0], -1), torch.flatten(second, 1)


class Standing(nn.Module):
    """A norm that cannot be folded, with neither weight nor bias."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(x.sigmoid())) * x


def exported(program: ExportedProgram, path: Path) -> list[onnx.NodeProto]:
    write(program, (IMAGE,), {}, SHAPES, path)
    return list(onnx.load(path).graph.node)


def counted(nodes: Sequence[onnx.NodeProto]) -> Counter[str]:
    return Counter(node.op_type for node in nodes)


class Decomposed(nn.Module):
    """All that is decomposed without being traced, one beside the other."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                nn.AdaptiveAvgPool2d(1),
                nn.Sequential(nn.Unflatten(1, (3, 1)), nn.AdaptiveAvgPool3d((1, 1, 1))),
                nn.Sequential(nn.Flatten(2), nn.AdaptiveAvgPool1d(1)),
                nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1, dilation=2),
                nn.ConvTranspose2d(3, 6, 2, groups=3, bias=False),
                nn.Sequential(nn.Flatten(2), nn.ConvTranspose1d(3, 2, 3, stride=2)),
                nn.Conv2d(3, 4, (3, 5), padding="same", dilation=(2, 1)),
                nn.Conv2d(3, 4, 3, padding="valid", stride=2),
                nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 5, padding="same", dilation=3)),
                Shapes(),
                Standing(),
            ]
        )

    def forward(self, x: Tensor) -> list[Any]:
        return [branch(x) for branch in self.branches]


def test_it_is_exported_without_being_traced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded = fold(trained(Decomposed()), (IMAGE,))
    program, again = folded.program(), folded.program()
    assert program is not None
    assert again is not None
    by_torch = exported(program, tmp_path / "torch.onnx")
    monkeypatch.setattr(ExportedProgram, "run_decompositions", _never)
    ours = exported(DecomposedProgram.of(again), tmp_path / "ours.onnx")
    assert counted(ours).total() <= counted(by_torch).total()
    for rows in (1, 2):
        runs = []
        for name in ("torch.onnx", "ours.onnx"):
            runner = OnnxRunner(tmp_path / name)
            runs.append(runner.run(runner.feed([(None, IMAGE[:rows])])))
        torch.testing.assert_close(*runs)


def _never(*given: object) -> None:
    raise AssertionError("torch traced the program again")


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.ConvTranspose2d(3, 2, 3), nn.AdaptiveAvgPool2d((3, 2))),
        nn.Conv2d(3, 4, 4, padding="same"),  # one more on one side
        nn.BatchNorm2d(3, track_running_stats=False),
    ],
    ids=lambda model: type(model).__name__,
)
def test_torch_decomposes_the_rest(model: nn.Module, tmp_path: Path) -> None:
    def program() -> ExportedProgram:
        return torch.export.export(model.eval(), (IMAGE,), dynamic_shapes=SHAPES)

    ours = exported(DecomposedProgram.of(program()), tmp_path / "ours.onnx")
    with quiet():
        by_torch = exported(program(), tmp_path / "torch.onnx")
    assert counted(ours) == counted(by_torch)

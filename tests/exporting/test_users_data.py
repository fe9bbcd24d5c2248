from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.exporting.failure_bundle import read_bundle
from bnconvert.graphs.example import Example


def classifier() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    model.append(nn.Linear(8, 10))
    model(torch.randn(32, 3, 8, 8))
    return model.eval()


def batches(count: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(4, 3, 8, 8, generator=generator), torch.zeros(4)) for _ in range(count)]


def test_an_export_is_proven_on_the_users_batches_without_their_labels(tmp_path: Path) -> None:
    told: list[str] = []
    report = bnc.export(
        classifier(),
        (batches()[0][0],),
        tmp_path / "m.onnx",
        verify_inputs=batches(),
        progress=lambda done, total, what: told.append(what),
    )
    assert report.facts["samples of your data"] == "12"
    assert report.facts["top-1 agreement on your data"] == "100.00% of 12 samples"
    assert [c.measure for c in report.checks if c.case == "your data, 12 samples"] == [
        "norm",
        "peak",
    ]
    assert told[-1] == "verifying on your data: batch 3"


class Rounds(nn.Module):
    """Computes something else where the numbers are large, which the example does not show."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = classifier()

    def forward(self, x: Tensor) -> Tensor:
        large = not torch.compiler.is_compiling() and float(x.abs().max()) > 100
        y: Tensor = self.inner(x)
        return y.round() if large else y


def test_a_file_that_differs_on_them_is_kept_with_the_batch(tmp_path: Path) -> None:
    large = batches(1)[0][0] * 1000
    with pytest.raises(bnc.VerificationError) as error:
        bnc.export(
            Rounds().eval(), (batches()[0][0],), tmp_path / "m.onnx", verify_inputs=[(large, 0)]
        )
    assert error.value.bundle is not None
    kept = Example.of(read_bundle(error.value.bundle)).tensors()[0]
    assert torch.equal(kept, large)
    assert error.value.report.title == "m.onnx DIFFERS from Rounds"
    assert not (tmp_path / "m.onnx").exists()

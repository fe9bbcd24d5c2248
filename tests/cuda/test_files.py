import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import bnconvert as bnc
from tests.cuda.models import (
    IMAGES,
    Deep,
    needs_cuda,
    on_cuda,
    tensors_of,
)
from tests.zoo import trained

pytestmark = needs_cuda


def test_a_model_is_folded_where_it_lies() -> None:
    model = trained(Deep())
    folded = bnc.fold(on_cuda(model), (IMAGES.cuda(),))
    assert folded.report.count("folded") == len(folded.report.norms)
    assert {t.device.type for t in folded.module.state_dict().values()} == {"cuda"}
    with torch.no_grad():
        torch.testing.assert_close(
            folded.module(IMAGES.cuda()).cpu(), model(IMAGES), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("dtype", [None, torch.float16], ids=["float32", "float16"])
def test_a_model_is_exported_and_proven_from_where_it_lies(
    tmp_path: Path, dtype: torch.dtype | None
) -> None:
    model = on_cuda(trained(Deep()))
    before = [t.clone() for t in tensors_of(model)]
    report = bnc.export(model, (IMAGES.cuda(),), tmp_path / "m.onnx", dtype=dtype)
    assert report.ok
    assert report.checks
    assert all(torch.equal(a, b) for a, b in zip(before, tensors_of(model), strict=True))
    assert {t.device.type for t in tensors_of(model)} == {"cuda"}


@pytest.mark.parametrize("tf32", [False, True])
def test_a_fault_is_noticed_and_named_with_tensor_cores_or_without(
    tmp_path: Path, tf32: bool
) -> None:
    model = on_cuda(trained(Deep()))
    with torch.backends.cudnn.flags(allow_tf32=tf32):
        bnc.export(model, (IMAGES.cuda(),), tmp_path / "m.onnx")
        wrong = copy.deepcopy(model)
        with torch.no_grad():
            wrong.second.weight[0] *= 1.001  # type: ignore[index,union-attr,operator]
        with pytest.raises(bnc.VerificationError):
            bnc.verify(wrong, tmp_path / "m.onnx", (IMAGES.cuda(),))


def test_a_folded_model_is_equalized_where_it_lies() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.ReLU()
    )
    model = trained(model)
    on_device = bnc.equalize(bnc.fold(on_cuda(model), (IMAGES.cuda(),)))
    on_cpu = bnc.equalize(bnc.fold(model, (IMAGES,)))
    for a, b in zip(
        on_device.module.state_dict().values(), on_cpu.module.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "efficientnet_b0"])
@pytest.mark.parametrize("settings", ["torch's", "exact"])
def test_real_networks_are_exported_and_proven_at_torchs_own_settings(
    name: str, settings: str, tmp_path: Path
) -> None:
    models = pytest.importorskip("torchvision").models
    model = on_cuda(trained(models.get_model(name, weights=None)))
    exact = settings == "exact"
    x = torch.randn(2, 3, 96, 96, device="cuda")
    with torch.backends.cudnn.flags(allow_tf32=not exact, benchmark=not exact):
        report = bnc.export(model, (x,), tmp_path / "m.onnx")
    assert report.ok
    assert report.count("folded") == len(report.norms)

"""Real architectures with random statistics: every norm seen, frozen, folded or explained."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnconvert as bnc
from bnconvert.tracing import survey
from tests.zoo import trained

pytestmark = pytest.mark.slow

#: norms in the model, of which fold; the others stand or are never called.
EXPECTED = {
    "timm:resnet18": (20, 20),
    "timm:mobilenetv3_small_050": (34, 34),
    "timm:efficientnet_b0": (49, 49),
    "timm:densenet121": (121, 59),
    "timm:regnetx_002": (44, 44),
    "torchvision:resnet50": (53, 53),
    "torchvision:mobilenet_v2": (52, 52),
    "torchvision:googlenet": (59, 57),
    "smp:unet": (30, 30),
}


def make(name: str) -> nn.Module:
    package, _, model = name.partition(":")
    builders: dict[str, Callable[[], nn.Module]] = {
        "timm": lambda: pytest.importorskip("timm").create_model(model, pretrained=False),
        "torchvision": lambda: pytest.importorskip("torchvision").models.get_model(
            model, weights=None, **({"init_weights": False} if model == "googlenet" else {})
        ),
        "smp": lambda: pytest.importorskip("segmentation_models_pytorch").Unet(
            "resnet18", encoder_weights=None
        ),
    }
    return trained(builders[package]())


def norms(model: nn.Module) -> list[str]:
    return [path for path, module in model.named_modules() if isinstance(module, _BatchNorm)]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_real_architecture(name: str, tmp_path: Path) -> None:
    model, x = make(name), torch.randn(2, 3, 128, 128)
    total, folding = EXPECTED[name]
    assert [site.path for site in survey(model).sites] == norms(model)
    assert len(norms(model)) == total

    with torch.no_grad():
        expected = model(x)
        frozen = bnc.convert(model, bnc.Frozen())
        assert type(frozen) is type(model)
        torch.testing.assert_close(frozen(x), expected, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(bnc.revert(frozen)(x), expected, rtol=0, atol=0)

    report = bnc.export(model, (x,), tmp_path / "model.onnx")
    assert report.failures == ()
    assert report.count("folded") == folding
    standing = [row for row in report.norms if row.outcome != "folded"]
    assert len(standing) == total - folding
    assert all(row.reason for row in standing)
    assert report.facts["BatchNormalization nodes"] == report.count("standing")


def test_a_detector_is_seen_and_converted() -> None:
    models = pytest.importorskip("torchvision").models.detection
    model = trained(models.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None))
    found = survey(model)
    assert found.graph is None
    assert [site.path for site in found.sites] == norms(model)
    assert len(found.sites) == 46
    images = [torch.rand(3, 96, 128)]
    with torch.no_grad():
        (expected,) = model(images)
        converted = bnc.convert(model, bnc.Frozen())
        (actual,) = converted(images)
    assert type(converted) is type(model)
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=1e-6, atol=1e-6)

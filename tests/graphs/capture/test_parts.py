import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.capture import capturing
from bnconvert.graphs.capture.parts import capture_parts
from bnconvert.graphs.example import Example
from tests.zoo import FrozenBatchNorm2d, trained


class Backbone(nn.Sequential):
    """Layers that know what they return, as torchvision's do."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.out_channels = 4


class Detector(nn.Module):
    """A model that torch.export cannot capture: what it computes depends on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.ModuleDict({"score": nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))})
        self.unused = nn.BatchNorm2d(4)

    def forward(self, images: list[Tensor]) -> list[Tensor]:
        scores = []
        for image in images:
            features = self.backbone(image[None])
            best = self.head["score"](features)[0, 0].flatten()
            if best.max() > 100:
                best = best / 2
            scores.append(best)
        return scores


IMAGES = ([torch.randn(3, 8, 9), torch.randn(3, 10, 8)],)


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(0)
    return trained(Detector())


def test_the_largest_parts_are_captured_and_put_back(detector: nn.Module) -> None:
    state = copy.deepcopy(detector.state_dict())
    folded = bnc.fold(detector, IMAGES)
    assert [part.path for part in folded.parts] == ["backbone", "head.score"]
    assert type(folded.module) is Detector
    assert folded.module.backbone.out_channels == 4
    assert [(row.path, row.outcome, row.reason) for row in folded.report.norms] == [
        ("backbone.1", "folded", "into backbone.0 (conv2d)"),
        ("head.score.1", "folded", "into head.score.0 (conv2d)"),
        ("unused", "uncalled", "the eval forward never calls it, or nothing reads its result"),
    ]
    assert folded.report.notes[0].startswith("folded by parts (backbone, head.score): Detector:")
    assert all(torch.equal(state[name], value) for name, value in detector.state_dict().items())


def test_parts_take_other_sizes(detector: nn.Module) -> None:
    folded = bnc.fold(detector, IMAGES)
    for images in (IMAGES[0], [torch.randn(3, 20, 17)]):
        for ours, theirs in zip(folded.module(images), detector(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_model_in_parts_is_grafted_whole(detector: nn.Module) -> None:
    folded = bnc.fold(detector, IMAGES)
    grafted = folded.graft(detector)
    assert isinstance(grafted.get_submodule("backbone.1"), nn.Identity)
    assert isinstance(grafted.get_submodule("head.score.1"), nn.Identity)
    for ours, theirs in zip(grafted(*IMAGES), detector(*IMAGES), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_model_that_asks_for_numbers_is_exported_once_before_its_parts(
    detector: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[str, bool, bool]] = []

    def export(module: nn.Module, *args: Any, **options: Any) -> Any:
        fixed = options["dynamic_shapes"] is None
        tried.append((type(module).__name__, fixed, options["strict"]))
        return torch.export.export(module, *args, **options)

    monkeypatch.setattr(capturing, "export", export)
    given, other = ([torch.ones(3, 8, 9)] * 2,), IMAGES
    capture_parts(detector, Example.of(given), any_size=False)
    fixed = [(name, True, False) for name in ("Detector", "Backbone", "Sequential")]
    assert tried == fixed
    tried.clear()
    capture_parts(detector, Example.of(other), any_size=False)
    assert tried == [fixed[0], *((name, False, False) for name, *_ in fixed[1:])], "two sizes"


def test_what_was_captured_in_parts_cannot_be_exported_whole(detector: nn.Module) -> None:
    with pytest.raises(bnc.CaptureError, match=r"only its parts backbone, head\.score; export one"):
        _ = bnc.fold(detector, IMAGES).captured


def test_inputs_that_the_model_does_not_take_are_its_own_error(detector: nn.Module) -> None:
    with pytest.raises(bnc.CaptureError, match="does not run on the example inputs"):
        capture_parts(detector, Example.of(([torch.randn(5, 8, 8)],)))


def test_frozen_norms_are_folded_in_parts_too() -> None:
    """Detectors with real weights have them: an expression, read as batch norm."""
    model = Detector()
    model.backbone[1] = FrozenBatchNorm2d(4)
    folded = bnc.fold(trained(model), IMAGES)
    assert [part.path for part in folded.parts] == ["backbone", "head.score"]
    assert [row.outcome for row in folded.report.norms] == ["folded", "folded", "uncalled"]


def test_a_norm_in_training_mode_stays_in_training_mode(detector: nn.Module) -> None:
    detector.get_submodule("head.score.1").train()
    rows = {row.path: row for row in bnc.fold(detector, IMAGES).report.norms}
    assert rows["backbone.1"].outcome == "folded"
    assert "it is in training mode" in rows["head.score.1"].reason

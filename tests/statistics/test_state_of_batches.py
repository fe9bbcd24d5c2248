"""What a forward keeps, on its modules or in its thread, stays with the batch that it is of."""

from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.precise import farthest, layer_by_layer, statistics_of
from tests.statistics.float64_batches import data
from tests.zoo import trained


class Skipping(nn.Module):
    """Keeps the skip connection on the module, as many decoders do."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.skip: Tensor | None = None
        self.features: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.skip = self.features["x"] = x * 2
        y = self.a(x).relu()
        output: Tensor = self.b(y + self.skip + self.features["x"])
        return output


def test_what_a_forward_keeps_on_its_modules_stays_with_its_batch() -> None:
    model = trained(Skipping()).double()
    batches = data((4, 4, 4))
    wanted = layer_by_layer(model, batches)
    bnc.recompute_statistics(model, batches)
    assert farthest(statistics_of(model), wanted) < 1e-12
    assert model.skip is None
    assert model.features == {}


def test_a_model_that_collects_features_by_hooks_is_measured_right() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(
        "test_efficientnet", features_only=True, pretrained=False, feature_cls="hook"
    )
    model = nn.Sequential(model, Joined()).double()
    batches = data((4, 4, 4), 3, 32, 32)
    wanted = layer_by_layer(model, batches)
    bnc.recompute_statistics(model, batches)
    assert farthest(statistics_of(model), wanted) < 1e-9


class Joined(nn.Module):
    """Normalizes features of several levels together."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        y: Tensor = self.bn(
            torch.stack([level.mean((1, 2, 3)) for level in levels]).sum(0)[:, None]
        )
        return y


class Precise(nn.Module):
    """Enters autocast, inference mode, enabled gradients and another default dtype inside."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norms = nn.ModuleList(nn.BatchNorm1d(4) for _ in range(5))
        self.seen: list[tuple[bool, bool, bool, torch.dtype]] = []

    def note(self) -> None:
        self.seen.append(
            (
                torch.is_autocast_enabled("cpu"),
                torch.is_inference_mode_enabled(),
                torch.is_grad_enabled(),
                torch.get_default_dtype(),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = self.norms
        x = first(x)
        contexts: tuple[AbstractContextManager[object], ...] = (
            torch.autocast("cpu", torch.bfloat16),
            torch.inference_mode(),
            torch.enable_grad(),
            torch.device("cpu"),
        )
        for context, norm in zip(contexts, rest, strict=True):
            self.note()
            with context:
                x = norm(self.linear(x).float())
                self.note()
            self.note()
            x = x.clone()
        return x


def test_modes_of_the_thread_that_a_submodule_enters_stay_with_its_batch() -> None:
    torch.manual_seed(0)
    model = trained(Precise())
    batches = [x.float() for x in data((4, 4, 4), 4)]
    with torch.no_grad():
        model(batches[0])
    alone = model.seen
    wanted = layer_by_layer(model, batches)
    model.seen = []
    seen: list[list[tuple[bool, bool, bool, torch.dtype]]] = []

    def forward(twin: nn.Module, batch: Tensor) -> None:
        twin(batch)
        assert isinstance(twin, Precise)
        seen.append(twin.seen)

    bnc.recompute_statistics(model, batches, forward=forward)
    assert seen == [alone] * 3
    assert farthest(statistics_of(model), wanted) < 1e-2  # autocast rounds to bfloat16
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")
    assert not torch.is_inference_mode_enabled()

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import bnconvert as bnc
from bnconvert.modules.kinds import (
    channels_of,
    eps_of,
    has_default_statistics,
    has_running_statistics,
    kind_of,
)
from tests.disguises import FrozenBatchNormInName
from tests.zoo import FrozenBatchNorm2d, OwnBatchNorm2d, ScaledBatchNorm2d, trained


class FrozenBatchNormOfAnotherFormula(FrozenBatchNorm2d):
    """Carries the name, and multiplies by the deviation instead of dividing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.running_var.sqrt().reshape(1, -1, 1, 1)


class FrozenBatchNormWithoutEps(FrozenBatchNorm2d):
    """Writes 1e-5 into its forward, as DETR's does."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        del self.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, OwnBatchNorm2d]
)
def test_torchs_norms_and_plain_subclasses_are_read_as_themselves(norm: type) -> None:
    kind = kind_of(norm(4))
    assert kind is not None
    assert (kind.plain_class, kind.children_after, kind.unsupported) == (norm, (), None)
    assert not kind.has_fixed_statistics


@pytest.mark.parametrize(
    "module", [nn.InstanceNorm2d(4, track_running_stats=True), nn.GroupNorm(2, 4), nn.ReLU()]
)
def test_other_modules_are_no_batch_norm(module: nn.Module) -> None:
    assert kind_of(module) is None


@pytest.mark.parametrize("norm", [FrozenBatchNorm2d, FrozenBatchNormWithoutEps])
def test_a_frozen_copy_is_known_by_its_buffers_and_its_formula(norm: type) -> None:
    kind = kind_of(trained(norm(4)))
    assert kind is not None
    assert kind.plain_class is nn.BatchNorm2d
    assert kind.has_fixed_statistics
    assert kind.unsupported is None


def test_a_frozen_name_with_another_formula_is_refused_by_name() -> None:
    kind = kind_of(trained(FrozenBatchNormOfAnotherFormula(4)))
    assert kind is not None
    assert kind.unsupported is not None
    assert kind.unsupported.code == "other-formula"
    assert "FrozenBatchNormOfAnotherFormula does not compute" in kind.unsupported.text


def unsupported(module: nn.Module) -> str:
    kind = kind_of(module)
    assert kind is not None
    assert kind.unsupported is not None
    assert kind.unsupported.text
    assert kind.unsupported.remedy
    return kind.unsupported.code


def test_what_a_rewrite_would_drop_is_unsupported_with_the_reason() -> None:
    assert unsupported(ScaledBatchNorm2d(4)) == "own-forward"
    assert unsupported(nn.LazyBatchNorm2d()) == "lazy"
    assert unsupported(parametrizations.weight_norm(nn.BatchNorm2d(4))) == "parametrized"
    patched: Any = nn.BatchNorm2d(4)  # a method is not assigned to, says its type
    patched.forward = lambda x: x * 2
    assert unsupported(patched) == "call-replaced"
    compiled = nn.BatchNorm2d(4)
    compiled.compile(backend="eager")
    assert unsupported(compiled) == "call-replaced"


def test_timms_fused_layers_are_read_with_their_tail() -> None:
    layers = pytest.importorskip("timm.layers")
    for norm, plain in (
        (layers.BatchNormAct2d, layers.BatchNormAct2d),
        (layers.FrozenBatchNormAct2d, layers.BatchNormAct2d),
    ):
        kind = kind_of(norm(4))
        assert kind is not None
        assert (kind.plain_class, kind.children_after, kind.unsupported) == (
            plain,
            ("drop", "act"),
            None,
        )


def test_channels_and_eps_are_read_off_any_norm() -> None:
    assert channels_of(nn.BatchNorm2d(4, track_running_stats=False)) == 4
    assert channels_of(FrozenBatchNorm2d(5)) == 5
    assert channels_of(nn.LazyBatchNorm2d()) == 0
    assert eps_of(nn.BatchNorm2d(4, eps=1e-3)) == 1e-3
    assert eps_of(FrozenBatchNormWithoutEps(4)) == 1e-5


def test_running_statistics_are_there_whatever_holds_or_uses_them() -> None:
    assert has_running_statistics(nn.BatchNorm2d(4))
    assert has_running_statistics(FrozenBatchNorm2d(4))
    assert has_running_statistics(bnc.convert(nn.BatchNorm2d(4), bnc.Group(2)))
    assert has_running_statistics(nn.BatchNorm2d(4, device="meta"))
    assert not has_running_statistics(nn.BatchNorm2d(4, track_running_stats=False))
    unused = nn.BatchNorm2d(4)
    unused.track_running_stats = False  # stops their update, and leaves the buffers
    assert has_running_statistics(unused)


def test_default_statistics_are_mean_zero_and_variance_one() -> None:
    assert has_default_statistics(nn.BatchNorm2d(4))
    assert not has_default_statistics(trained(nn.BatchNorm2d(4)))
    assert not has_default_statistics(nn.BatchNorm2d(4, track_running_stats=False))
    assert not has_default_statistics(nn.BatchNorm2d(4, device="meta"))


def test_a_frozen_norm_in_name_only_is_not_called_frozen() -> None:
    kind = kind_of(FrozenBatchNormInName())
    assert kind is not None
    assert kind.is_other_class
    assert not kind.has_fixed_statistics


def test_looking_at_a_frozen_norm_in_name_only_does_not_move_it() -> None:
    module = FrozenBatchNormInName()
    kind_of(module)
    assert torch.equal(module.running_mean, torch.zeros(4))
    assert module.training

"""The traps that others fell into: each with the figure of the naive way, and ours beside it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse as fx_fuse
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

import bnconvert as bnc
from bnconvert.modules.normalization import Normalization
from tests.submodules import submodule
from tests.zoo import IMAGE, Net, build, trained, without_bias


def gap(first: nn.Module, second: nn.Module, inputs: tuple[Any, ...]) -> float:
    """Return the largest difference between two models' outputs."""
    with torch.no_grad():
        return float((first(*inputs) - second(*inputs)).abs().max())


def folded_in_double(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[bnc.Folded, float]:
    """Fold in float64; return the result and its largest difference from the model."""
    exact = copy.deepcopy(model).double()
    wide = tuple(tensor.double() for tensor in inputs)
    folded = bnc.fold(exact, wide)
    return folded, gap(exact, folded.module, wide)


def reasons(folded: bnc.Folded) -> list[str]:
    return [row.reason for row in folded.report.norms if row.outcome == "standing"]


def test_a_conv_called_twice_with_a_norm_each() -> None:
    """torch.fx's fuse folds both norms into the one conv: largest difference 5.3 here."""
    model, inputs = build("conv_called_twice")
    assert gap(model, fx_fuse(model), inputs) > 1
    folded, error = folded_in_double(model, inputs)
    assert error < 1e-12
    assert reasons(folded) == []
    assert "with a copy of its weight, which conv (conv2d) reads too" in (
        folded.report.norms[0].reason
    )


def test_a_conv_weight_that_is_read_elsewhere() -> None:
    """torch.fx's fuse changes the weight under its second reader: difference 12 here."""
    model, inputs = build("weight_read_elsewhere")
    assert gap(model, fx_fuse(model), inputs) > 1
    folded, error = folded_in_double(model, inputs)
    assert error < 1e-12
    assert folded.report.count("folded") == 1  # the square is a constant of the old weight


def test_a_forward_hook_on_a_norm() -> None:
    """torch.fx's fuse drops the hook with the norm: difference 1.9 here."""
    model, inputs = build("hooked")
    assert gap(model, fx_fuse(model), inputs) > 1
    folded, error = folded_in_double(model, inputs)
    assert error < 1e-12
    assert folded.report.count("folded") == 1  # the hook's own operators stay behind it
    for policy in (bnc.Frozen(), bnc.Frozen(affine="trainable")):
        assert gap(model, bnc.convert(model, policy), inputs) == 0


def test_linear_then_norm_on_sequences_as_long_as_they_are_wide() -> None:
    """torch.fx's fuse scales features where the norm scales positions: difference 2.6 here."""
    model, inputs = build("linear_on_sequences")
    assert gap(model, fx_fuse(model), inputs) > 1
    folded, error = folded_in_double(model, inputs)
    assert error == 0
    (reason,) = reasons(folded)
    assert reason.startswith("a linear layer on 3 axes: its features are the last axis")


def test_one_norm_at_two_names_of_one_parent() -> None:
    """torch's convert_sync_batchnorm converts the first name only."""
    model, inputs = build("one_norm_two_names")
    half = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))
    assert [type(half.first), type(half.second)] == [nn.SyncBatchNorm, nn.BatchNorm2d]
    converted = bnc.convert(model, bnc.Frozen())
    assert converted.first is converted.second
    assert type(converted.first) is not nn.BatchNorm2d
    assert gap(model, converted, inputs) == 0
    assert folded_in_double(model, inputs)[1] < 1e-12


def test_a_fused_activation_is_never_lost() -> None:
    """torch's convert_sync_batchnorm drops the ReLU of timm's layer: difference 2.5 here."""
    layers = pytest.importorskip("timm.layers")
    model = trained(Net(layers.BatchNormAct2d))
    naive = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model)).eval()
    features = IMAGE[0].repeat(1, 3, 1, 1)[:, :8]
    for net in (model, naive):
        net.register_module("head", nn.Identity())
    assert (naive.norm(features) < 0).any()
    frozen, grouped = bnc.convert(model, bnc.Frozen()), bnc.convert(model, bnc.Group(2))
    assert gap(model, frozen, IMAGE) == 0
    with torch.no_grad():
        assert (grouped.get_submodule("norm")(features) >= 0).all()
    assert type(bnc.revert(frozen).norm) is layers.BatchNormAct2d
    folded, error = folded_in_double(model, IMAGE)
    assert folded.report.count("folded") == 1
    assert error < 1e-12


def test_a_norm_with_weight_but_no_bias() -> None:
    """torch's fuse_linear_bn_eval raises TypeError; other converters touch bias.data."""
    linear, norm = nn.Linear(6, 8), without_bias(nn.BatchNorm1d(8))
    model = trained(nn.Sequential(linear, norm))
    with pytest.raises(TypeError):
        fuse_linear_bn_eval(linear, norm)
    inputs = (torch.randn(4, 6),)
    for policy in (bnc.Frozen(), bnc.Group(2)):
        assert submodule(bnc.convert(model, policy), "1", Normalization).bias is None
    folded, error = folded_in_double(model, inputs)
    assert folded.report.count("folded") == 1
    assert error < 1e-12


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_a_transposed_conv_with_groups(groups: int) -> None:
    """Scaling axis 0 of the weight, as for a conv, is off by 1.0 with four groups here."""
    conv, norm = nn.ConvTranspose2d(8, 8, 2, 2, groups=groups), nn.BatchNorm2d(8)
    model = trained(nn.Sequential(conv, norm))
    inputs = (torch.randn(2, 8, 4, 4),)
    if groups < 8:  # depthwise, both axes are one
        assert gap(model, fuse_conv_bn_eval(conv, norm), inputs) > 0.1
    folded, error = folded_in_double(model, inputs)
    assert folded.report.count("folded") == 1
    assert error < 1e-12


class Halving(nn.Module):
    """A conv and a norm whose eps hardly matters: large variances."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.get_buffer("norm.running_var").fill_(2.0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


def test_an_eps_of_1e_3_for_1e_5_is_caught_where_a_fixed_tolerance_passes(tmp_path: Path) -> None:
    """torch.allclose(rtol=1e-3, atol=1e-3) passes here: the outputs differ by 2.5e-4."""
    right, wrong = Halving().eval(), Halving().eval()
    wrong.load_state_dict(right.state_dict())
    wrong.norm.eps = 1e-3
    with torch.no_grad():
        assert torch.allclose(wrong(*IMAGE), right(*IMAGE), rtol=1e-3, atol=1e-3)
    bnc.export(wrong, IMAGE, tmp_path / "wrong.onnx")
    with pytest.raises(bnc.VerificationError) as failure:
        bnc.verify(right, tmp_path / "wrong.onnx", IMAGE)
    assert all(1e-5 < check.error < 1e-3 for check in failure.value.report.failures)


def test_a_norm_without_statistics_is_caught_by_its_dependence_on_the_batch(
    tmp_path: Path,
) -> None:
    """The file agrees with the model: a comparison of the two alone passes, at 1e-7."""
    model, inputs = build("without_statistics")
    with pytest.raises(bnc.VerificationError) as failure:
        bnc.export(model, inputs, tmp_path / "model.onnx")
    report = failure.value.report
    assert {check.measure for check in report.failures} == {"rows"}
    assert all(check.error > 0.01 for check in report.failures)
    assert all(check.passed for check in report.checks if check.measure != "rows")
    assert not (tmp_path / "model.onnx").exists()
    assert (tmp_path / "model.failed.onnx").exists()

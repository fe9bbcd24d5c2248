"""What a plan says of freezing a norm."""

import pytest
import torch
from torch import nn

import bnconvert as bnc
from tests.submodules import submodule
from tests.zoo import IMAGE, FrozenBatchNorm2d, Net, build, trained


def test_a_norm_without_statistics_is_refused() -> None:
    model = build("without_statistics")[0]
    with pytest.raises(bnc.RefusedError, match="norm: has no running statistics to freeze; use"):
        bnc.convert(model, bnc.Frozen())


def test_parameters_that_would_not_learn_though_they_are_trainable_are_cautioned() -> None:
    norm = trained(nn.BatchNorm2d(3)).requires_grad_(False)
    caution = "its weight and bias require no gradient: requires_grad_(True) to train them"
    assert remarks(norm, bnc.Frozen(affine="trainable")) == [caution]
    assert remarks(norm, bnc.Frozen()) == [""]
    assert remarks(norm.requires_grad_(True), bnc.Frozen(affine="trainable")) == [""]
    frozen = bnc.convert(norm, bnc.Frozen())
    assert remarks(frozen, bnc.Frozen(affine="trainable")) == [""]
    tuned = bnc.convert(frozen, bnc.Frozen(affine="trainable"))
    assert all(parameter.requires_grad for parameter in tuned.parameters())


def remarks(norm: nn.Module, choice: bnc.Frozen) -> list[str]:
    return [decision.remark for decision in bnc.plan(norm, choice)]


def test_untrained_statistics_are_cautioned() -> None:
    (decision,) = bnc.plan(Net(), bnc.Frozen()).decisions
    assert decision.caution == (
        "its statistics are untrained (mean 0, variance 1): recompute them first"
    )


def test_freezing_a_tied_weight_is_cautioned() -> None:
    first, second = bnc.plan(build("tied_norms")[0], bnc.Frozen()).decisions
    assert first.caution == "shares its weight or bias with 3: frozen there too"
    assert second.caution == "shares its weight or bias with 1: frozen there too"


def test_a_norm_frozen_elsewhere_is_read_as_frozen() -> None:
    model, inputs = build("frozen_elsewhere")
    converted = bnc.convert(model, bnc.Frozen())
    assert type(converted.norm) is FrozenBatchNorm2d  # it already is what was asked for
    learning = bnc.convert(model, bnc.Frozen(affine="trainable"))
    assert [p.requires_grad for p in learning.get_submodule("norm").parameters()] == [True, True]
    torch.testing.assert_close(learning(*inputs), model(*inputs))
    reverted = bnc.revert(model)
    norm = submodule(reverted, "norm", nn.BatchNorm2d)
    assert type(norm) is nn.BatchNorm2d
    assert norm.momentum == 0.1
    assert norm.num_batches_tracked == 0
    torch.testing.assert_close(reverted.eval()(*inputs), model(*inputs))


def test_torchvisions_and_timms_frozen_norms_are_read_too() -> None:
    ops, layers = pytest.importorskip("torchvision.ops"), pytest.importorskip("timm.layers")
    plain = trained(Net())
    for freeze in (lambda c: ops.FrozenBatchNorm2d(c, eps=1e-3), layers.FrozenBatchNormAct2d):
        model = Net(freeze)
        model.load_state_dict(plain.state_dict())
        expected = model.eval()(*IMAGE)
        for policy in (bnc.Frozen(), bnc.Frozen(affine="trainable")):
            torch.testing.assert_close(bnc.convert(model, policy)(*IMAGE), expected)
        torch.testing.assert_close(bnc.revert(model).eval()(*IMAGE), expected)
    assert type(bnc.revert(model).norm) is layers.BatchNormAct2d


def test_an_unknown_choice_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="affine is 'learning'; use affine=\"frozen\""):
        bnc.Frozen(affine="learning")  # type: ignore[arg-type]


def test_its_repr_says_what_is_frozen() -> None:
    assert "frozen=(statistics, affine)" in repr(bnc.convert(trained(Net()), bnc.Frozen()))
    assert eval(repr(bnc.Frozen(affine="trainable")), vars(bnc) | {"Frozen": bnc.Frozen}) == (
        bnc.Frozen(affine="trainable")
    )

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

import bnconvert as bnc
from bnconvert.norms.group import GroupedNorm
from tests.submodules import submodule
from tests.zoo import Net, build, trained, without_bias


def naive(x: Tensor, norm: _NormBase, groups: int) -> Tensor:
    """Wu and He (2018), sample by sample, in float64."""
    rows = []
    for sample in x.double():
        parts = []
        for group in sample.chunk(groups):
            mean, var = group.mean(), group.var(correction=0)
            parts.append((group - mean) / (var + norm.eps).sqrt())
        rows.append(torch.cat(parts))
    y = torch.stack(rows)
    shape = (1, -1) + (1,) * (x.dim() - 2)
    if norm.weight is not None:
        y = y * norm.weight.detach().double().reshape(shape)
    if norm.bias is not None:
        y = y + norm.bias.detach().double().reshape(shape)
    return y


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(8, eps=0.1), (3, 8)),
        (nn.BatchNorm1d(8), (3, 8, 5)),
        (nn.BatchNorm2d(8, affine=False), (3, 8, 4, 5)),
        (without_bias(nn.BatchNorm2d(8)), (3, 8, 4, 5)),
        (nn.BatchNorm3d(8, track_running_stats=False), (3, 8, 2, 4, 5)),
        (nn.SyncBatchNorm(8), (3, 8, 4, 5)),
    ],
)
def test_it_is_group_norm_with_the_norms_gamma_beta_and_eps(
    norm: _BatchNorm, shape: tuple[int, ...], groups: int
) -> None:
    grouped = bnc.convert(trained(norm), bnc.Group(groups))
    assert grouped.eps == norm.eps
    x = torch.randn(shape) * 2 + 1
    for mode in (True, False):
        y = grouped.train(mode)(x)
        torch.testing.assert_close(y.double(), naive(x, norm, groups), rtol=1e-5, atol=1e-5)


def test_no_sample_depends_on_its_batch() -> None:
    grouped = bnc.convert(trained(nn.BatchNorm2d(8)), bnc.Group(4)).train()
    x = torch.randn(5, 8, 3, 3)
    torch.testing.assert_close(grouped(x)[2:3], grouped(x[2:3]))


def test_channels_that_do_not_divide_are_refused_with_a_remedy() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6))
    with pytest.raises(bnc.RefusedError) as refused:
        bnc.convert(model, bnc.Group(4))
    assert refused.value.refusals == (
        "1: 6 channels do not divide into 4 groups; use Group(3) or Keep()",
    )


def test_a_group_of_one_value_is_refused_where_there_may_be_no_positions() -> None:
    """Every value would become zero: opacus's converter gave such outputs."""
    with pytest.raises(bnc.RefusedError, match=r"single value on \(N, C\) input; use Group\(4\)"):
        bnc.convert(nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8)), bnc.Group(8))
    with pytest.raises(bnc.RefusedError, match=r"into 4 groups; use Group\(1\) or Keep\(\)"):
        bnc.convert(nn.Sequential(nn.Linear(3, 7), nn.BatchNorm1d(7)), bnc.Group(4))
    with pytest.raises(bnc.RefusedError, match=r"single value .*; use Keep\(\)"):
        bnc.convert(nn.Sequential(nn.Linear(3, 1), nn.BatchNorm1d(1)), bnc.Group(1))


def test_a_group_of_one_value_is_refused_at_run_time_too() -> None:
    grouped = bnc.convert(trained(nn.BatchNorm2d(8)), bnc.Group(8))
    assert grouped(torch.randn(2, 8, 2, 1)).shape == (2, 8, 2, 1)
    with pytest.raises(ValueError, match="leaves a single value in each of 8 groups; convert"):
        grouped(torch.randn(2, 8, 1, 1))


def test_the_plan_says_loudly_that_the_function_changes() -> None:
    planned = bnc.plan(build("plain")[0], bnc.Group(2))
    assert "CHANGES THE FUNCTION" in str(planned)
    assert "must be trained" in str(planned)


def test_alternatives_take_the_first_that_divides() -> None:
    model = nn.Sequential(nn.BatchNorm2d(64), nn.BatchNorm2d(24), nn.BatchNorm2d(7))
    planned = bnc.plan(model, bnc.Group(32) | bnc.Group(8) | bnc.Keep())
    assert [repr(d.rewrite) for d in planned.decisions] == [
        "Group(groups=32)",
        "Group(groups=8)",
        "Keep()",
    ]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_out_as_it_went_in(dtype: torch.dtype) -> None:
    converted = bnc.convert(trained(nn.BatchNorm2d(8)), bnc.Group(2))
    grouped = submodule(converted, "", GroupedNorm)
    x = torch.randn(2, 8, 4, 4).to(dtype)
    assert grouped(x).dtype is dtype
    torch.testing.assert_close(grouped(x).double(), naive(x, grouped, 2), rtol=2e-2, atol=2e-2)


def test_the_statistics_wait_for_revert() -> None:
    model = build("plain")[0]
    grouped = bnc.convert(model, bnc.Group(2)).train()
    grouped(torch.randn(4, 3, 8, 8) + 9)
    reverted = bnc.revert(grouped)
    assert torch.equal(
        reverted.get_buffer("norm.running_mean"), model.get_buffer("norm.running_mean")
    )
    assert reverted.get_buffer("norm.num_batches_tracked") == 100


def test_a_frozen_norm_thaws_when_it_becomes_group_norm() -> None:
    frozen = bnc.convert(trained(Net()), bnc.Frozen())
    assert all(
        p.requires_grad
        for p in bnc.convert(frozen, bnc.Group(2)).get_submodule("norm").parameters()
    )


def test_a_nonsense_number_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="groups is 0; use a positive number"):
        bnc.Group(0)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(8, eps=0.1),
        nn.BatchNorm2d(8, affine=False),
        without_bias(nn.BatchNorm2d(8)),
        nn.SyncBatchNorm(8),
        bnc.convert(trained(nn.BatchNorm2d(8)), bnc.Frozen()),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_a_plain_one_is_torchs_own_class_and_nothing_more(norm: _NormBase) -> None:
    ours: nn.Module = bnc.convert(norm, bnc.Group(4))
    plain: nn.Module = bnc.convert(norm, bnc.Group(4, plain=True))
    assert type(plain) is nn.GroupNorm
    assert vars(plain).keys() == vars(nn.GroupNorm(4, 8)).keys()
    assert list(plain.state_dict()) == [n for n, p in ours.named_parameters()]
    assert repr(plain).startswith(f"GroupNorm(4, 8, eps={norm.eps}, affine={norm.affine}")
    x = torch.randn(3, 8, 4, 5)
    for mode in (True, False):
        assert torch.equal(plain.train(mode)(x), ours.train(mode)(x))


def test_a_plain_one_keeps_parameters_hooks_and_modes() -> None:
    model = trained(Net())
    weight, seen = model.get_parameter("norm.weight"), []
    handle = model.get_submodule("norm").register_forward_hook(lambda *_: seen.append(1))
    model.get_parameter("norm.bias").requires_grad_(False)
    converted = bnc.convert(model.eval(), bnc.Group(2, plain=True), inplace=True)
    assert converted.get_parameter("norm.weight") is weight
    assert not converted.get_parameter("norm.bias").requires_grad
    assert not converted.get_submodule("norm").training
    x = torch.randn(2, 3, 5, 4)
    converted(x)
    handle.remove()
    converted(x)
    assert seen == [1]


def test_the_plan_says_that_a_plain_one_cannot_be_undone() -> None:
    choice = bnc.Group(2, plain=True)
    assert repr(choice) == "Group(groups=2, plain=True)"
    assert bnc.Policy.parse([repr(choice)]).rules[0].choices == (choice,)
    planned = str(bnc.plan(build("plain")[0], choice))
    assert "CHANGES THE FUNCTION" in planned
    assert "CANNOT BE UNDONE: nn.GroupNorm holds no running statistics" in planned
    assert "recompute_statistics" not in planned


def test_a_plain_one_that_would_drop_an_activation_is_refused() -> None:
    layers = pytest.importorskip("timm.layers")
    norm = layers.BatchNormAct2d(8)
    with pytest.raises(bnc.RefusedError, match=r"calls drop and act after .* use Group\(2\) or"):
        bnc.convert(norm, bnc.Group(2, plain=True))
    with pytest.raises(bnc.RefusedError, match=r"use Group\(4, plain=True\) or Keep\(\)"):
        bnc.convert(nn.BatchNorm2d(8), bnc.Group(5, plain=True))


def test_weight_decay_leaves_a_plain_one_alone() -> None:
    prepared = bnc.prepare(trained(Net()), bnc.Group(2, plain=True), weight_decay=0.1)
    decayed = {id(p) for p in prepared.parameter_groups[0]["params"]}
    assert id(prepared.model.get_parameter("norm.weight")) not in decayed

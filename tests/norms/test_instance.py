"""Instance: torch's instance norm with the batch norm's affine; the plan says that it differs."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

import bnconvert as bnc
from tests.zoo import build, trained, without_bias


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm2d(8, eps=0.1), (3, 8, 4, 5)),
        (nn.BatchNorm2d(8, affine=False), (3, 8, 4, 5)),
        (without_bias(nn.BatchNorm2d(8)), (3, 8, 4, 5)),
        (nn.BatchNorm3d(8, track_running_stats=False), (3, 8, 2, 4, 5)),
        (nn.SyncBatchNorm(8), (3, 8, 4, 5)),
    ],
)
def test_it_is_torchs_instance_norm_with_the_norms_gamma_beta_and_eps(
    norm: _BatchNorm, shape: tuple[int, ...]
) -> None:
    converted = bnc.convert(trained(norm), bnc.Instance())
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 2 + 1
    expected = F.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=norm.eps)
    for mode in (True, False):
        torch.testing.assert_close(converted.train(mode)(x), expected, rtol=1e-5, atol=1e-5)


def test_a_single_value_per_channel_is_refused_with_a_remedy() -> None:
    with pytest.raises(bnc.RefusedError, match=r"single value on \(N, C\) input; use Group\(4\)"):
        bnc.convert(nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8)), bnc.Instance())
    converted = bnc.convert(trained(nn.BatchNorm2d(8)), bnc.Instance())
    with pytest.raises(ValueError, match="leaves a single value in each of 8 groups; convert"):
        converted(torch.randn(2, 8, 1, 1))


def test_the_plan_says_loudly_that_the_function_changes() -> None:
    planned = bnc.plan(build("plain")[0], bnc.Instance())
    assert "CHANGES THE FUNCTION: instance norm is not batch norm" in str(planned)


def test_the_statistics_wait_for_revert() -> None:
    model = build("plain")[0]
    converted = bnc.convert(model, bnc.Instance()).train()
    converted(torch.randn(4, 3, 8, 8) + 9)
    reverted = bnc.revert(converted)
    assert type(reverted.get_submodule("norm")) is nn.BatchNorm2d
    assert torch.equal(
        reverted.get_buffer("norm.running_mean"), model.get_buffer("norm.running_mean")
    )


def test_it_is_written_in_a_rule() -> None:
    assert bnc.Policy.parse(["Instance() | Keep()"]).rules[0].choices == (
        bnc.Instance(),
        bnc.Keep(),
    )

import copy
import io

import pytest
import torch
from torch import nn

from bnconvert.modules.folded_norm import eval_scale, gain_range, remember_norm, remembered_norm
from tests.zoo import trained


def test_the_scale_is_by_what_eval_mode_multiplies() -> None:
    norm, x = trained(nn.BatchNorm1d(5, eps=1e-3)).double(), torch.randn(7, 5).double()
    scale = eval_scale(norm)
    assert scale is not None
    torch.testing.assert_close(norm(x + 1) - norm(x), scale.expand(7, 5))
    plain = eval_scale(nn.BatchNorm1d(5, affine=False))
    assert plain is not None
    torch.testing.assert_close(plain, torch.full((5,), (1 + 1e-5) ** -0.5).double())


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm1d(5, track_running_stats=False), nn.BatchNorm1d(5, device="meta"), nn.ReLU()],
    ids=["no statistics", "meta", "no norm"],
)
def test_without_statistics_there_is_no_scale_and_nothing_is_remembered(norm: nn.Module) -> None:
    rest = nn.Identity()
    remember_norm(rest, norm)
    assert eval_scale(norm) is None
    assert remembered_norm(rest) is None


def test_the_range_of_gains_is_over_the_channels_whatever_their_sign() -> None:
    norm = nn.BatchNorm1d(3, eps=0.0)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([-4.0, 1.0, 2.0]))
        norm.get_buffer("running_var").fill_(4.0)
    assert gain_range(norm) == (0.5, 1.0, 2.0)
    with torch.no_grad():
        norm.weight[0] = torch.nan
    assert gain_range(norm) == gain_range(nn.LazyBatchNorm2d()) == ()
    assert gain_range(nn.BatchNorm1d(3, device="meta")) == ()
    norm.weight = nn.Parameter(torch.ones(3, device="meta"))  # buffers are there, as accelerate's
    assert gain_range(norm) == ()


def test_copies_and_pickles_keep_it_and_a_state_dict_does_not() -> None:
    rest, norm = nn.Identity(), trained(nn.BatchNorm2d(3, eps=1e-3, momentum=None))
    remember_norm(rest, norm)
    file = io.BytesIO()
    torch.save(rest, file)
    file.seek(0)
    assert b"bnconvert" not in file.getvalue()  # it is read without this package
    for again in (copy.deepcopy(rest), torch.load(file, weights_only=False)):
        former = remembered_norm(again)
        assert former is not None
        assert (former.eps, former.momentum) == (1e-3, None)
        expected = eval_scale(norm)
        assert expected is not None
        assert torch.equal(former.scale, expected)
    assert not rest.state_dict()
    assert remembered_norm(nn.Identity()) is None
    assert remembered_norm(None) is None


def test_nothing_is_divided_by_a_scale_of_zero_or_infinity() -> None:
    rest, norm = nn.Identity(), nn.BatchNorm1d(4)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.0, float("inf"), -2.0, float("nan")]))
    remember_norm(rest, norm)
    former = remembered_norm(rest)
    assert former is not None
    assert former.divisor[[0, 1, 3]].tolist() == [1.0, 1.0, 1.0]
    assert float(former.divisor[2]) == pytest.approx(-2, rel=1e-4)

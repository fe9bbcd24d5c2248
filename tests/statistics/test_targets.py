import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.errors import StatisticsError
from bnconvert.statistics.targets import find_targets
from tests.zoo import build


def test_a_target_holds_the_buffers_themselves() -> None:
    model = build("residual")[0]
    targets = find_targets(model).measured
    assert [target.path for target in targets] == ["bn1", "bn2"]
    assert targets[1].mean is model.get_buffer("bn2.running_mean")
    assert targets[1].counter is model.get_buffer("bn2.num_batches_tracked")
    assert (targets[0].eps, targets[0].momentum) == (1e-5, 0.1)


def test_a_root_and_a_shared_norm_are_one_target() -> None:
    assert [target.path for target in find_targets(nn.BatchNorm1d(3)).measured] == ["(root)"]
    assert len(find_targets(build("one_norm_two_parents")[0]).measured) == 1


def test_statistics_that_two_norms_hold_are_one_target() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    model[1].running_mean, model[1].running_var = model[0].running_mean, model[0].running_var
    targets = find_targets(model)
    assert [target.path for target in targets.measured] == ["0"]
    assert targets.excluded == {"1": "has the statistics of 0, measured there"}


@pytest.mark.parametrize(
    ("norm", "reason"),
    [
        (nn.BatchNorm1d(3, track_running_stats=False), "has no running statistics"),
        (nn.LazyBatchNorm1d(), "its running statistics hold no numbers yet"),
        (nn.BatchNorm1d(3, device="meta"), "its running statistics hold no numbers yet"),
        (bnc.convert(nn.BatchNorm1d(3), bnc.Frozen()), "its statistics are frozen"),
        (bnc.convert(nn.BatchNorm1d(6), bnc.Group(2)), "GroupedNorm does not use its running"),
        (nn.BatchNorm1d(3).eval(), "is in eval mode inside a model in training mode"),
    ],
)
def test_what_is_left_has_its_reason(norm: nn.Module, reason: str) -> None:
    model = nn.Sequential(norm)
    targets = find_targets(model)
    assert targets.measured == ()
    assert targets.excluded["0"].startswith(reason)
    with pytest.raises(StatisticsError, match=f"no norm has running.*\n  0: {reason}"):
        targets.require_any(model)


def test_a_norm_whose_tracking_was_switched_off_is_left() -> None:
    norm = nn.BatchNorm1d(3)
    norm.track_running_stats = False
    assert find_targets(norm).excluded == {"(root)": "track_running_stats is off"}


def test_each_call_and_the_domain_in_use_are_targets() -> None:
    model = bnc.convert(build("norm_called_twice")[0], bnc.Separate(domains="calls"))
    assert [target.path for target in find_targets(model).measured] == [
        "norm[call 0]",
        "norm[call 1]",
    ]
    norm = bnc.convert(nn.Sequential(nn.BatchNorm1d(3)), bnc.Separate())
    assert [target.path for target in find_targets(norm).measured] == ["0[source]"]
    with bnc.domain(norm, "target"):
        (target,) = find_targets(norm, "target").measured
        assert target.path == "0[target]"
        assert target.mean is not norm.get_buffer("0.running_mean")
    with (
        bnc.domain(norm, torch.tensor([0, 1])),
        pytest.raises(StatisticsError, match="measured domain by domain; leave that context"),
    ):
        find_targets(norm)


def test_saved_copies_are_no_views() -> None:
    targets = find_targets(nn.BatchNorm1d(3))
    saved = targets.snapshot()
    (target,) = targets.measured
    target.set_values(torch.ones(3), torch.ones(3) * 2)
    assert torch.equal(saved[target][0], torch.zeros(3))
    assert target.mean.tolist() == [1, 1, 1]
    with pytest.raises(StatisticsError, match=r"\(root\): statistics of up to inf do not fit"):
        target.set_final(torch.full((3,), float("inf")), torch.ones(3))


def test_in_a_wrapper_the_mode_of_what_it_wraps_counts() -> None:
    """timm's ModelEmaV3 is in training mode around a model in eval mode."""
    inner = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    wrapper = nn.ModuleDict({"module": inner.eval()}).train()
    inner.eval()
    assert len(find_targets(wrapper).measured) == 1
    inner.train()
    inner[1].eval()
    assert "which freezes it" in find_targets(wrapper).excluded["module.1"]
    lone = nn.Sequential(nn.BatchNorm1d(3).eval())
    assert not find_targets(lone).measured  # a norm is no model that is wrapped

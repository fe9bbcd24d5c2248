import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.errors import StatisticsError
from bnconvert.measuring.slots import slots_of
from tests.zoo import build


def test_a_slot_holds_the_buffers_themselves() -> None:
    model = build("residual")[0]
    slots = slots_of(model).measured
    assert [slot.path for slot in slots] == ["bn1", "bn2"]
    assert slots[1].mean is model.bn2.running_mean
    assert slots[1].counter is model.bn2.num_batches_tracked
    assert (slots[0].eps, slots[0].momentum) == (1e-5, 0.1)


def test_a_root_and_a_shared_norm_are_one_slot() -> None:
    assert [slot.path for slot in slots_of(nn.BatchNorm1d(3)).measured] == ["(root)"]
    assert len(slots_of(build("one_norm_two_parents")[0]).measured) == 1


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
    slots = slots_of(nn.Sequential(norm))
    assert slots.measured == ()
    assert slots.left["0"].startswith(reason)
    with pytest.raises(StatisticsError, match=f"no norm has running.*\n  0: {reason}"):
        slots.require_some()


def test_a_norm_whose_tracking_was_switched_off_is_left() -> None:
    norm = nn.BatchNorm1d(3)
    norm.track_running_stats = False
    assert slots_of(norm).left == {"(root)": "track_running_stats is off"}


def test_each_call_and_the_domain_in_use_are_slots() -> None:
    model = bnc.convert(build("norm_called_twice")[0], bnc.Separate(domains="calls"))
    assert [slot.path for slot in slots_of(model).measured] == ["norm[call 0]", "norm[call 1]"]
    norm = bnc.convert(nn.Sequential(nn.BatchNorm1d(3)), bnc.Separate())
    assert [slot.path for slot in slots_of(norm).measured] == ["0[source]"]
    with bnc.domain(norm, "target"):
        (slot,) = slots_of(norm, "target").measured
        assert slot.path == "0[target]"
        assert slot.mean is not norm[0].running_mean
    with (
        bnc.domain(norm, torch.tensor([0, 1])),
        pytest.raises(StatisticsError, match="measured domain by domain; leave that context"),
    ):
        slots_of(norm)


def test_saved_copies_are_no_views() -> None:
    slots = slots_of(nn.BatchNorm1d(3))
    saved = slots.saved()
    (slot,) = slots.measured
    slot.put(torch.ones(3), torch.ones(3) * 2)
    assert torch.equal(saved[slot][0], torch.zeros(3))
    assert slot.mean.tolist() == [1, 1, 1]
    with pytest.raises(StatisticsError, match=r"\(root\): statistics of up to inf do not fit"):
        slot.write(torch.full((3,), float("inf")), torch.ones(3))

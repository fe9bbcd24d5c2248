import copy
from typing import Any

import pytest
import torch
from torch import nn

from bnconvert.conversion.conversion import convert
from bnconvert.modules.kinds import kind_of
from bnconvert.modules.surgery import (
    inherit,
    plain_batch_norm,
    replace_by_plain_batch_norm,
    swap,
)
from bnconvert.norms.frozen import Frozen, FrozenNorm
from bnconvert.norms.group import Group
from tests.zoo import FrozenBatchNorm2d, Net, build, trained, without_bias


def frozen_from(norm: nn.Module) -> FrozenNorm:
    return inherit(
        norm,
        FrozenNorm,
        origin=type(norm),
        children_after=(),
        freezes_affine=False,
        trainable_before=(),
    )


def test_a_successor_has_the_very_same_tensors_and_settings() -> None:
    # Any: it gets an attribute that its class does not declare
    norm: Any = without_bias(nn.BatchNorm2d(4, eps=0.1, momentum=None)).eval()
    norm.remark = "mine"
    successor = frozen_from(norm)
    assert successor.weight is norm.weight
    assert successor.running_var is norm.running_var
    assert (successor.eps, successor.momentum) == (0.1, None)
    assert successor.bias is None
    assert successor.remark == "mine"
    assert not successor.training


def test_a_process_group_survives_the_way_there_and_back() -> None:
    norm = nn.SyncBatchNorm(4, process_group="group")
    successor = frozen_from(norm)
    kind = kind_of(successor)
    assert kind is not None
    back = plain_batch_norm(successor, kind)
    assert type(back) is nn.SyncBatchNorm
    assert back.process_group == "group"
    assert vars(back).keys() == vars(norm).keys()


def test_hooks_go_over_and_their_handles_still_remove_them() -> None:
    norm, seen = trained(nn.BatchNorm2d(4)), []
    handle = norm.register_forward_hook(lambda *_: seen.append("forward"))
    norm.register_forward_pre_hook(lambda *_: seen.append("before"))
    successor = frozen_from(norm)
    successor(torch.randn(1, 4, 2, 2))
    assert seen == ["before", "forward"]
    handle.remove()
    successor(torch.randn(1, 4, 2, 2))
    assert seen == ["before", "forward", "before"]


def test_inheriting_does_not_change_the_source() -> None:
    norm = nn.BatchNorm2d(4)
    before = dict(vars(norm)), dict(norm._parameters), dict(norm._buffers)
    successor = frozen_from(norm)
    successor.register_buffer("extra", torch.zeros(1))
    successor.weight = nn.Parameter(torch.zeros(4))
    assert (dict(vars(norm)), dict(norm._parameters), dict(norm._buffers)) == before


def test_a_swap_that_fails_puts_everything_back() -> None:
    model = trained(Net())
    norm = model.norm
    with pytest.raises(AttributeError):
        swap(model, {"norm": nn.Identity(), "nowhere.norm": nn.Identity()})
    assert model.norm is norm


def test_a_swap_at_the_root_returns_the_new_module() -> None:
    norm, successor = nn.BatchNorm2d(4), nn.Identity()
    assert swap(norm, {"": successor}) is successor


def test_settling_gives_plain_batch_norm_in_eval_where_that_is_the_function() -> None:
    model, inputs = build("plain")
    expected = model(*inputs)
    frozen = convert(model, Frozen()).train()
    settled = replace_by_plain_batch_norm(copy.deepcopy(frozen))
    assert type(settled.norm) is nn.BatchNorm2d
    assert not settled.norm.training  # it used its running statistics in training mode
    assert torch.equal(settled(*inputs), expected)
    elsewhere, inputs = build("frozen_elsewhere")
    assert type(replace_by_plain_batch_norm(copy.deepcopy(elsewhere)).norm) is nn.BatchNorm2d
    grouped = convert(model, Group(2))
    assert type(replace_by_plain_batch_norm(grouped).norm).__name__ == "GroupedNorm"


def test_a_norm_frozen_elsewhere_gets_what_batch_norm_needs() -> None:
    norm = trained(FrozenBatchNorm2d(4, eps=1e-3))
    kind = kind_of(norm)
    assert kind is not None
    back = plain_batch_norm(norm, kind)
    assert isinstance(back, nn.BatchNorm2d)
    assert (back.num_features, back.eps, back.momentum) == (4, 1e-3, 0.1)
    assert isinstance(back.weight, nn.Parameter)
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(back.eval()(x), norm(x))
    back.train()(x)
    assert back.num_batches_tracked == 1

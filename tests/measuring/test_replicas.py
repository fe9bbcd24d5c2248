import copy

import numpy as np
import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.errors import UnsupportedModelError
from bnconvert.measuring.replicas import replica, twin
from tests.zoo import ZOO, ZooModel, build


@pytest.mark.parametrize("zoo", ZOO, ids=lambda zoo: zoo.name)
def test_a_replica_computes_the_same_and_shares_the_tensors(zoo: ZooModel) -> None:
    model, inputs = build(zoo.name)
    other = replica(model.train())
    assert other is not model
    assert not any(module.training for module in other.modules())
    mine = dict(model.state_dict(keep_vars=True))
    assert all(value is mine[name] for name, value in other.state_dict(keep_vars=True).items())
    with torch.no_grad():
        torch.testing.assert_close(other(*inputs), model.eval()(*inputs))


def test_what_a_forward_keeps_stays_in_its_replica() -> None:
    model, inputs = build("cache_in_forward")
    replica(model)(*inputs)
    assert model.cache == {}


def test_arrays_and_tensors_on_attributes_are_shared_and_hooks_come_along() -> None:
    model = build("hooked")[0]
    model.table, model.lists = np.ones(3), [torch.ones(2)]
    other = replica(model)
    assert other.table is model.table
    assert other.lists[0] is model.lists[0]
    assert len(other.norm._forward_hooks) == 1
    assert other.norm._forward_hooks is not model.norm._forward_hooks


def test_an_adaptive_norm_does_not_adapt_in_a_replica() -> None:
    norm = bnc.convert(nn.BatchNorm1d(3), bnc.Adaptive(0)).eval()
    x = torch.randn(8, 3) + 5
    torch.testing.assert_close(replica(norm)(x), x / (1 + 1e-5) ** 0.5)
    assert norm.statistics is None


def test_a_twin_has_buffers_of_its_own_and_the_models_modes() -> None:
    model = build("residual")[0].train()
    model.bn1.eval()
    before = copy.deepcopy(model.state_dict())
    other = twin(model)
    other(torch.randn(4, 3, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert other.conv1.weight is model.conv1.weight
    assert not other.bn1.training


def test_what_cannot_be_copied_is_refused() -> None:
    model = nn.Linear(2, 2)
    model.rows = (i for i in range(3))
    with pytest.raises(UnsupportedModelError, match=r"cannot be copied .TypeError.*; take what"):
        replica(model)

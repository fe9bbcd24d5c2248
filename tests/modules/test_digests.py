import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.modules.digests import digests, tensor_digest
from tests.zoo import build, trained


def net() -> nn.Module:
    return build("plain")[0]  # always with the same weights


def test_a_model_has_a_digest_of_its_weights_and_one_of_its_statistics() -> None:
    first, moved, learned = net(), net(), net()
    with torch.no_grad():
        moved.get_submodule("norm").get_buffer("running_mean").add_(1e-6)
        learned.get_submodule("norm").get_parameter("bias").add_(1e-6)
    assert digests(first) == digests(net().train())
    assert digests(moved)["weights"] == digests(first)["weights"] != digests(learned)["weights"]
    assert digests(moved)["statistics"] != digests(first)["statistics"]
    assert all(len(digest) == 64 for digest in digests(first).values())
    assert [*digests(nn.Linear(2, 2))] == ["weights"]


def test_a_conversion_that_keeps_all_numbers_keeps_the_digests() -> None:
    model = nn.Sequential(trained(nn.BatchNorm2d(4)))
    assert digests(bnc.convert(model, bnc.Frozen())) == digests(model)


@pytest.mark.parametrize("model", [nn.BatchNorm1d(2, device="meta"), nn.LazyLinear(2)])
def test_what_is_not_in_memory_has_none(model: nn.Module) -> None:
    assert digests(model) == {}


def test_a_large_model_is_not_read_where_that_would_take_long() -> None:
    assert digests(nn.Linear(9, 1, bias=False), largest=36) != {}
    assert digests(nn.Linear(9, 1, bias=False), largest=35) == {}


def test_a_tensor_is_told_apart_by_dtype_shape_and_numbers() -> None:
    x = torch.arange(4.0)
    others = [x.double(), x.reshape(2, 2), x + 1, torch.empty(0)]
    assert len({tensor_digest(tensor) for tensor in (x, x.clone(), *others)}) == 5

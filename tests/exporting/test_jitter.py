import torch
from torch import nn

import bnconvert as bnc
from bnconvert.exporting.jitter import jittered, untrained_norms
from tests.zoo import FrozenBatchNorm2d, Net, build, trained


def test_only_norms_that_never_saw_data_are_untrained() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), trained(nn.BatchNorm2d(3)), FrozenBatchNorm2d(3))
    assert untrained_norms(model) == [model[0], model[2]]
    assert untrained_norms(build("without_statistics")[0]) == []


def test_statistics_that_a_norm_does_not_use_need_no_training() -> None:
    """A model with group norms is proven once."""
    assert untrained_norms(bnc.convert(Net(), bnc.Group(4))) == []
    assert untrained_norms(bnc.convert(Net(), bnc.Instance())) == []
    ghost = bnc.convert(Net(), bnc.Ghost(4))
    assert untrained_norms(ghost) == [ghost.norm]


def test_jitter_moves_the_untrained_norms_of_a_copy_only() -> None:
    model = nn.Sequential(Net(), trained(Net()), Net(FrozenBatchNorm2d))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    twin = jittered(model, torch.Generator().manual_seed(0))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    moved = {
        name for name, value in twin.state_dict().items() if not torch.equal(before[name], value)
    }
    tensors = ("running_mean", "running_var", "weight", "bias")
    assert moved == {f"{i}.norm.{name}" for i in (0, 2) for name in tensors}
    assert (twin.get_buffer("0.norm.running_var") > 0).all()


def test_all_other_weights_are_not_copied() -> None:
    model = nn.Sequential(Net(), trained(Net()))
    twin = jittered(model, torch.Generator().manual_seed(0))
    copied = {
        name
        for name, parameter in twin.named_parameters()
        if parameter.data_ptr() != model.get_parameter(name).data_ptr()
    }
    assert copied == {"0.norm.weight", "0.norm.bias"}

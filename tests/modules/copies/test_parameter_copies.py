"""Copies whose parameters are in float64, or are views of the model's: what is theirs, what not."""

import pytest
import torch
from torch import Tensor, nn

from bnconvert.modules.copies.copying import copy_model
from bnconvert.modules.copies.parameter_copies import copy_in_double, copy_viewing_parameters
from tests.submodules import submodule
from tests.zoo import ZOO, Net, ZooModel, build


def test_a_copy_in_double_is_a_copy_that_was_cast() -> None:
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 4), nn.Linear(4, 4)
    layers[3].weight = layers[2].weight
    layers[0].weight.requires_grad_(False)
    model = nn.Sequential(*layers)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    double, cast = copy_in_double(model), copy_model(model).double()
    expected = cast.state_dict()
    assert double.state_dict().keys() == expected.keys()
    for name, tensor in double.state_dict().items():
        assert tensor.dtype is expected[name].dtype
        assert torch.equal(tensor, expected[name])
        assert torch.equal(model.state_dict()[name], before[name])
        assert model.state_dict()[name].dtype is before[name].dtype
    assert submodule(double, "3", nn.Linear).weight is submodule(double, "2", nn.Linear).weight
    assert [p.requires_grad for p in double.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]
    for tensor in double.state_dict().values():
        tensor.zero_()
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("zoo", ZOO, ids=lambda zoo: zoo.name)
def test_a_copy_that_views_parameters_computes_what_the_model_does(zoo: ZooModel) -> None:
    model, inputs = build(zoo.name)
    with torch.no_grad():
        expected, got = model(*inputs), copy_viewing_parameters(model)(*inputs)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_its_parameters_lie_where_the_models_do_and_are_others() -> None:
    model = Net()
    model.conv.weight.requires_grad_(False)
    twin = copy_viewing_parameters(model)
    for name, parameter in twin.named_parameters():
        own = model.get_parameter(name)
        assert parameter is not own
        assert parameter.data_ptr() == own.data_ptr()
        assert parameter.requires_grad == own.requires_grad
    twin.requires_grad_(True)
    assert not model.conv.weight.requires_grad
    for name, buffer in twin.named_buffers():
        assert buffer.data_ptr() != model.get_buffer(name).data_ptr()


def test_no_gradient_of_it_reaches_the_model_or_its_hooks() -> None:
    model, called = Net(), list[Tensor]()
    for parameter in model.parameters():
        parameter.register_hook(called.append)
    copy_viewing_parameters(model)(torch.ones(2, 3, 8, 8)).sum().backward()
    assert not called
    assert all(parameter.grad is None for parameter in model.parameters())


def test_parameters_that_will_be_written_to_are_copied_for_all_that_share_them() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    before = first.weight.detach().clone()
    twin = copy_viewing_parameters(nn.Sequential(first, second), but=[first.weight])
    weight = twin.get_parameter("0.weight")
    assert twin.get_parameter("1.weight") is weight
    with torch.no_grad():
        weight.zero_()
    assert torch.equal(first.weight, before)
    assert twin.get_parameter("0.bias").data_ptr() == first.bias.data_ptr()


def test_a_part_of_a_larger_tensor_is_copied() -> None:
    """Its memory is also that of others, which torch.export would have to tell apart."""
    model, whole = nn.Linear(3, 3), torch.randn(2, 3, 3)
    model.weight = nn.Parameter(whole[0])
    twin = copy_viewing_parameters(model)
    assert twin.get_parameter("weight").data_ptr() != model.weight.data_ptr()
    assert torch.equal(twin.get_parameter("weight"), model.weight)


def test_what_was_made_in_inference_mode_is_copied() -> None:
    with torch.inference_mode():
        model = nn.Linear(3, 3)
    twin = copy_viewing_parameters(model)
    twin(torch.ones(1, 3)).sum().backward()
    assert twin.get_parameter("weight").grad is not None

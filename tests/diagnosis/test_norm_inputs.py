import pytest
import torch
from torch import nn

from bnconvert.diagnosis.norm_inputs import NormInput, norm_inputs
from bnconvert.graphs.example import Example
from bnconvert.modules.survey import survey
from tests.zoo import Net, NormCalledTwice, trained


def inputs_of(model: nn.Module, *inputs: torch.Tensor) -> dict[str, NormInput]:
    return dict(norm_inputs(model, Example.of(inputs), survey(model).sites))


def test_images_and_values_that_are_normalized_together() -> None:
    image = torch.randn(2, 3, 6, 5)
    assert inputs_of(Net(), image) == {"norm": NormInput(images=2, values=60)}
    assert inputs_of(NormCalledTwice(), image)["norm"].values_per_image == 30
    flat = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    assert inputs_of(flat, torch.randn(3, 4)) == {"1": NormInput(images=3, values=3)}


def test_one_image_is_enough_in_training_mode_too_and_nothing_changes() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Dropout()).train()
    random = torch.get_rng_state()
    assert inputs_of(model, torch.randn(1, 3, 4, 4))["1"].values_per_image == 1
    assert model.training
    assert not model[1]._forward_pre_hooks
    assert torch.equal(model.get_buffer("1.running_mean"), torch.zeros(3))
    torch.set_rng_state(random)


def test_a_failing_forward_leaves_the_model_as_it_was() -> None:
    model = trained(Net()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(RuntimeError):
        inputs_of(model, torch.randn(2, 5, 4, 4))
    assert model.training
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())

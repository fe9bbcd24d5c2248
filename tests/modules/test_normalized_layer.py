import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.modules.normalized_layer import (
    NormalizedLayer,
    norm_after,
    normalized,
    only_adds_bias,
)


class PaddedConv(nn.Conv2d):
    """A user's convolution with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


class BiasTwice(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        return F.conv2d(x, self.weight, self.bias) * self.bias.view(-1, 1, 1)


class BiasByHand(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        return F.conv2d(x, self.weight) + self.bias.view(-1, 1, 1)


def test_it_is_of_the_layers_class_with_its_parameters_and_adds_only_the_norms_keys() -> None:
    layer = PaddedConv(3, 4, 3)
    made = normalized(layer, nn.BatchNorm2d(4), with_bias=True)
    assert isinstance(made, PaddedConv)
    assert isinstance(made, NormalizedLayer)
    assert made.weight is layer.weight
    added = set(made.state_dict()) - set(layer.state_dict())
    assert {name.partition(".")[0] for name in added} == {"norm"}
    assert not hasattr(layer, "norm")
    x = torch.randn(2, 3, 5, 5)
    made.eval()
    assert torch.equal(made(x), made.norm(layer(x)))


def test_it_can_be_pickled_and_copied_though_its_class_is_made_at_run_time() -> None:
    made = normalized(PaddedConv(3, 4, 3), nn.BatchNorm2d(4), with_bias=False).eval()
    x = torch.randn(2, 3, 5, 5)
    for other in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert type(other) is type(made)
        assert other.weight is not made.weight
        assert torch.equal(other(x), made(x))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(3, 4, 3), True),
        (nn.ConvTranspose1d(3, 4, 3), True),
        (PaddedConv(3, 4, 3), True),
        (normalized(PaddedConv(3, 4, 3), nn.Identity(), with_bias=True), True),
        (BiasTwice(3, 4, 3), False),
        (BiasByHand(3, 4, 3), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_bias_can_go_where_the_forward_does_nothing_but_add_it(
    layer: nn.Module, expected: bool
) -> None:
    assert only_adds_bias(layer) is expected


@pytest.mark.parametrize(
    ("layer", "norm"),
    [
        (nn.Conv1d(2, 3, 3), nn.BatchNorm1d),
        (nn.ConvTranspose3d(2, 3, 3), nn.BatchNorm3d),
        (nn.Linear(2, 3), nn.BatchNorm1d),
        (nn.Conv2d(2, 3, 3).double().eval(), nn.BatchNorm2d),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_norm_is_of_the_layers_axes_dtype_and_mode(
    layer: nn.Module, norm: type[nn.Module]
) -> None:
    made = norm_after(layer, eps=1e-3)
    assert type(made) is norm
    assert (made.num_features, made.eps) == (3, 1e-3)
    assert made.training == layer.training
    assert made.weight.dtype == layer.weight.dtype

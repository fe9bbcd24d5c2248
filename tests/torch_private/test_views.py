import torch

from bnconvert.torch_private.views import base_of


def test_a_view_of_a_view_has_the_first_tensor_as_its_base() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 3))
    assert base_of(weight.t()[:2]) is weight
    assert base_of(weight) is None
    assert base_of(weight * 2) is None

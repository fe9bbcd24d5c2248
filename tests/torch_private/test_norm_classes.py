import pytest
import torch
from torch import nn

from bnconvert.torch_private.norm_classes import check_dimensions, is_instance_norm


@pytest.mark.parametrize("norm", [nn.InstanceNorm1d(2), nn.InstanceNorm3d(2, affine=True)])
def test_instance_norms_are_known(norm: nn.Module) -> None:
    assert is_instance_norm(norm)


def test_lazy_instance_norms_are_too() -> None:
    assert is_instance_norm(nn.LazyInstanceNorm2d())


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(2), nn.GroupNorm(1, 2), nn.LayerNorm(2)])
def test_other_norms_are_none(norm: nn.Module) -> None:
    assert not is_instance_norm(norm)


def test_dimensions_are_checked_as_by_the_class_before() -> None:
    norm = nn.BatchNorm2d(2)
    check_dimensions(nn.BatchNorm2d, norm, torch.ones(2, 2, 1, 1))
    check_dimensions(nn.BatchNorm1d, norm, torch.ones(2, 2))
    with pytest.raises(ValueError, match="expected 4D input"):
        check_dimensions(nn.BatchNorm2d, norm, torch.ones(2, 2))

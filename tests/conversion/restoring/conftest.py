from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.conversion.restoring.shipped import Block
from tests.zoo import trained


@pytest.fixture
def batches() -> list[Tensor]:
    torch.manual_seed(0)
    return [*torch.randn(24, 3, 8, 8).split(8)]


@pytest.fixture
def model(batches: list[Tensor]) -> nn.Module:
    """Return a network whose statistics are those of the data."""
    net = trained(Block())
    bnc.recompute_statistics(net, batches)
    return net


@pytest.fixture
def graft(model: nn.Module, batches: list[Tensor]) -> nn.Module:
    return bnc.fold(model, (batches[0],)).graft(model)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield

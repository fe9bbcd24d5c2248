"""The graph of a small network, and what a right file computes."""

import pytest
import torch
from torch import Tensor, fx

from tests.excerpts import capture_of
from tests.verification.values.rows import INPUTS, Row, values_of
from tests.zoo import trained


@pytest.fixture(scope="module")
def graph() -> fx.GraphModule:
    torch.manual_seed(0)
    return capture_of(trained(Row()), INPUTS).module


@pytest.fixture
def values(graph: fx.GraphModule) -> dict[str, Tensor]:
    return values_of(graph)

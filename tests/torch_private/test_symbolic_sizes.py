from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from bnconvert.torch_private.symbolic_sizes import are_same, example_value, holds_always


class Stacked(nn.Module):
    """Puts its inputs one after the other."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([x, y])


@pytest.fixture(scope="module")
def sizes() -> tuple[Any, Any, Any]:
    """Return the sizes of two inputs and of both together."""
    batch = {0: Dim.DYNAMIC}
    program = export(Stacked(), (torch.ones(5), torch.ones(3)), dynamic_shapes=(batch, batch))
    values = [node.meta["val"] for node in program.graph.nodes if node.op != "output"]
    x, y, both = [value.shape[0] for value in values if isinstance(value, Tensor)]
    return x, y, both


def test_what_follows_from_the_symbols_holds_always(sizes: tuple[Any, Any, Any]) -> None:
    x, y, both = sizes
    assert holds_always(x == x)
    assert holds_always(both == x + y)
    assert holds_always(both == y + x)


def test_what_is_so_in_the_example_only_does_not(sizes: tuple[Any, Any, Any]) -> None:
    x, y, _ = sizes
    assert not holds_always(x == 5)
    assert not holds_always(x == y + 2)
    assert not holds_always(x == y)


def test_plain_numbers_are_compared() -> None:
    three, four = (len(range(n)) for n in (3, 4))
    assert holds_always(three == 3)
    assert not holds_always(four == 3)


def test_shapes_are_the_same_where_every_size_is(sizes: tuple[Any, Any, Any]) -> None:
    x, y, both = sizes
    assert are_same((both, 3), (x + y, 3))
    assert not are_same((x, 3), (y + 2, 3)), "in the example only"
    assert not are_same((x, 3), (x, 4))
    assert not are_same((x, 3), (x, 3, 1))


def test_a_dynamic_size_counts_as_in_the_example(sizes: tuple[Any, Any, Any]) -> None:
    assert [example_value(size) for size in sizes] == [5, 3, 8]
    assert example_value(7) == 7

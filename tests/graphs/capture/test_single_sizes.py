"""A graph is right for an axis of size 1, or it is not made for that size and says so."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import bnconvert as bnc
from bnconvert.errors import CaptureError
from bnconvert.graphs.capture.capturing import Captured, capture
from bnconvert.graphs.example import Example
from tests.torch_release import needs_torch

Function = Callable[..., Any]


class Applied(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.rand(3, 1))

    def forward(self, x: Tensor, other: Tensor | None = None) -> Any:
        return self.function(x * self.weight) if other is None else self.function(x, other)


class Gathering(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, **batch: Tensor) -> Any:
        return self.function(batch["x"])


def doubled_if_single(axis: int) -> Function:
    return lambda x, *_: x * 2 if x.shape[axis] == 1 else x + 1


def unless_single(x: Tensor) -> Tensor:
    if x.shape[0] == 1:
        raise ValueError("one row has no deviation")
    return x - x.mean(0)


GIVEN = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
#: Models that compute something else for a single row.
SINGLE: dict[str, Function] = {
    "a condition": doubled_if_single(0),
    "a number among the outputs": lambda x: (x, 1.5 if x.shape[0] == 1 else 2.5),
}
#: Those that do not, or that do not take it.
PLAIN: dict[str, Function] = {
    "an operator": lambda x: x.relu(),
    "squeeze, an operator that drops a single row": lambda x: x.squeeze() @ torch.ones(5, 2),
    "the batch is mixed": lambda x: x - x.mean(0),
    "random numbers": lambda x: nn.functional.dropout(x, training=True),
    "infinity": lambda x: x / 0,
    "one row is refused": unless_single,
}


def captured(model: nn.Module, inputs: Any, dynamic_shapes: Any = None) -> Captured:
    return capture(model.eval(), Example.of(inputs), dynamic_shapes)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("name", SINGLE)
def test_a_model_that_treats_one_row_otherwise_gets_a_fixed_batch(name: str, rows: int) -> None:
    """The given row too is a single one: it is doubled only to see whether the batch may vary."""
    model, given = Applied(SINGLE[name]), (GIVEN[:rows],)
    found = captured(model, given)
    assert found.dynamic_shapes is None
    assert "computes other things unless 2 <= x.shape[0]" in " ".join(found.notes)
    torch.testing.assert_close(found.module(*given), model(*given))


@pytest.mark.parametrize("name", PLAIN)
def test_other_models_keep_a_batch_that_varies(name: str) -> None:
    found = captured(Applied(PLAIN[name]), (GIVEN,))
    assert found.dynamic_shapes is not None
    assert not found.limits.conditions


@pytest.mark.parametrize(
    ("model", "inputs", "axes", "condition"),
    [
        (Applied(doubled_if_single(2)), (GIVEN,), ({2: Dim.AUTO},), "2 <= x.shape[2]"),
        (
            Applied(doubled_if_single(0)),
            (GIVEN, GIVEN + 1),
            ({0: Dim.AUTO}, {0: Dim.AUTO}),
            "2 <= x.shape[0]",
        ),
        pytest.param(
            Gathering(doubled_if_single(0)),
            {"x": GIVEN},
            {"x": {0: Dim.AUTO}},
            "2 <= x.shape[0]",
            marks=needs_torch(2, 14, "torch.export varies no size of what **inputs gather"),
        ),
    ],
    ids=["an inner axis", "two inputs", "gathered inputs"],
)
def test_where_dynamic_axes_are_given_the_size_is_excluded(
    model: nn.Module, inputs: Any, axes: Any, condition: str
) -> None:
    """The graph keeps them, and is not run with a size that it gets wrong."""
    found = captured(model, inputs, axes)
    assert str(found.limits) == condition
    axis = int(condition[-2])
    single = Example.of(inputs).map(lambda tensor: tensor.narrow(axis, 0, 1))
    assert found.limits.broken_by(model, single) == condition
    with pytest.raises(AssertionError, match="Guard failed"):
        found.module(*single.args, **single.kwargs)


class Net(nn.Module):
    def __init__(self, is_special: Callable[[Tensor], bool]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.is_special = is_special

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y * 2 if self.is_special(x) else y


VARIES = ({0: Dim.AUTO, 2: Dim.AUTO},)


@pytest.mark.parametrize(
    ("is_special", "axes", "wrong", "words"),
    [
        (lambda x: x.shape[0] == 1, None, (1, 3, 8, 8), "x.shape[0] == 4"),
        (lambda x: x.shape[0] > 16, None, (20, 3, 8, 8), "x.shape[0] == 4"),
        (lambda x: x.shape[2] > 10, VARIES, (4, 3, 12, 8), "x.shape[2] <= 10"),
        (lambda x: x.shape[2] == 1, VARIES, (4, 3, 1, 8), "2 <= x.shape[2]"),
        (lambda x: x.shape[2] % 8 > 0, VARIES, (4, 3, 9, 8), "x.shape[2] % 8 <= 0"),
    ],
)
def test_a_folded_model_is_right_or_refuses_a_size(
    is_special: Callable[[Tensor], bool], axes: Any, wrong: tuple[int, ...], words: str
) -> None:
    model, x = Net(is_special).eval(), torch.randn(4, 3, 8, 8)
    folded = bnc.fold(model, (x,), dynamic_shapes=axes).module
    torch.testing.assert_close(folded(x), model(x))
    with pytest.raises(CaptureError) as failure:
        folded(torch.randn(wrong))
    assert f"it is what the model computes where {words}" in str(failure.value)
    other = torch.randn(wrong)
    again = bnc.fold(model, (other,)).module  # as it says
    torch.testing.assert_close(again(other), model(other))

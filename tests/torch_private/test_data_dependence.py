"""Both modes of torch.export fail at the numbers of which it is said, and one at others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import export

from bnconvert.torch_private.data_dependence import (
    Noticing,
    asks_for_numbers,
    decides_size,
    stops_both_modes,
)
from bnconvert.torch_private.silence import quiet

X = torch.rand(2, 3, generator=torch.Generator().manual_seed(0)) * 9


class Of(nn.Module):
    """A forward that is given as a function."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def by_tensor(x: Tensor) -> Tensor:
    if x.max() > 100:
        return x / 2
    return x


def by_number(x: Tensor) -> Tensor:
    return x if x.max().long().item() > 3 else -x


def by_size(x: Tensor) -> Tensor:
    return x if (x > 0).nonzero().numel() == 0 and x.shape[1] == 3 else -x


def pooling(x: Tensor) -> Tensor:
    kept = (x > 0).nonzero()[:, 0].float()
    return nn.functional.max_pool1d(kept[None, None], 2)


#: As it stands in users' files: pytest makes branches of the assertions in this one.
_ASSERTING = "def asserting(x):\n    assert x.max() < 100\n    return x"
_MADE: dict[str, Callable[[Tensor], Tensor]] = {}
exec(_ASSERTING, _MADE)


def counting(x: Tensor) -> Tensor:
    return x + int(x.max().long())


def knowing_its_mode(x: Tensor) -> Tensor:
    if not torch.compiler.is_dynamo_compiling() and x.max() > 100:
        raise ValueError("too large")
    return x


def failure(function: Callable[[Tensor], Any], *, strict: bool) -> Exception | None:
    try:
        with quiet():
            export(Of(function).eval(), (X,), strict=strict)
    except Exception as failed:
        return failed
    return None


@pytest.mark.parametrize("function", [by_tensor, by_number, by_size])
def test_where_python_branches_on_a_number_strict_mode_fails_too(
    function: Callable[[Tensor], Any],
) -> None:
    found = failure(function, strict=False)
    assert found is not None
    assert stops_both_modes(found)
    assert failure(function, strict=True) is not None


@pytest.mark.parametrize("function", [_MADE["asserting"], counting, knowing_its_mode])
def test_where_strict_mode_has_another_way_it_captures(
    function: Callable[[Tensor], Any],
) -> None:
    found = failure(function, strict=False)
    assert found is not None
    assert not stops_both_modes(found)
    assert failure(function, strict=True) is None


def test_an_operator_that_asks_does_so_in_both_modes() -> None:
    found = failure(pooling, strict=False)
    assert found is not None
    assert stops_both_modes(found)
    assert failure(pooling, strict=True) is not None


@pytest.mark.parametrize("function", [by_tensor, by_number, by_size, counting])
def test_numbers_that_a_forward_asks_for_are_seen(function: Callable[[Tensor], Any]) -> None:
    with Noticing(asks_for_numbers) as asked:
        Of(function)(X)
    assert asked.seen


def test_sizes_are_no_numbers_of_tensors() -> None:
    with Noticing(asks_for_numbers) as asked:
        nn.BatchNorm1d(3).eval()(X[: X.shape[0]]).argmax(1)
    assert not asked.seen


@pytest.mark.parametrize(("index", "asks"), [([1, 0], False), ([True, False], True)])
def test_integer_indices_ask_for_no_number_and_masks_do(index: list[int], asks: bool) -> None:
    with Noticing(asks_for_numbers) as asked:
        assert len(X[torch.tensor(index)])
    assert asked.seen == asks


@pytest.mark.parametrize(
    ("function", "decides"),
    [
        (lambda x: x[x > 0], True),
        (lambda x: torch.nonzero(x), True),
        (lambda x: x.masked_select(x > 0), True),
        (lambda x: x.unique(), True),
        (lambda x: torch.ops.torchvision.nms(x[:, :1].repeat(1, 4), x[:, 0], 0.5), True),
        (lambda x: nn.utils.rnn.pack_padded_sequence(x, torch.tensor([3, 2]), True).data, True),
        (lambda x: x[torch.tensor([1, 0])], False),
        (lambda x: x * x.max().item(), False),
        (lambda x: torch.cond(x.sum() > 0, lambda y: y * 2, lambda y: y / 2, (x,)), False),
    ],
)
def test_sizes_that_values_decide_are_noted(
    function: Callable[[Tensor], Any], decides: bool
) -> None:
    pytest.importorskip("torchvision")
    with Noticing(decides_size) as sizes:
        function(X)
    assert sizes.seen == decides

"""A recomputed forward merges with the moments of the reference that its forward merged with."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError, checkpoint

import bnconvert as bnc
from tests.norms.test_virtual import REFERENCE, images

Checkpoint = Callable[[nn.Module], Callable[..., Any]]


def plainly(model: nn.Module) -> Callable[..., Any]:
    return partial(checkpoint, use_reentrant=False)


def reentrantly(model: nn.Module) -> Callable[..., Any]:
    return partial(checkpoint, use_reentrant=True)


def recorded(model: nn.Module) -> Callable[..., Any]:
    contexts = partial(bnc.checkpoint_contexts, model)
    return partial(checkpoint, use_reentrant=False, context_fn=contexts)


class Block(nn.Module):
    """A norm after a dropout, in a part that may be checkpointed."""

    def __init__(self, dropped: float, by: Checkpoint | None) -> None:
        super().__init__()
        self.conv, self.drop = nn.Conv2d(3, 4, 1), nn.Dropout(dropped)
        self.norm, self.by = nn.BatchNorm2d(4), by

    def part(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.drop(self.conv(x)))
        return y

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.part(x) if self.by is None else self.by(self)(self.part, x)
        return y


def gradients(dropped: float, by: Checkpoint | None, whole: Checkpoint | None = None) -> Any:
    """Return those of two forwards that go backward together, as of real and fake images."""
    torch.manual_seed(0)
    block = bnc.convert(Block(dropped, by).double(), bnc.Virtual(REFERENCE)).train()
    run: Callable[[Tensor], Tensor] = block if whole is None else partial(whole(block), block)
    x = images(2).requires_grad_()
    (run(x).square().sum() + run(x * 2).pow(3).sum()).backward()
    return [x.grad, *(parameter.grad for parameter in block.parameters())]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # the reference's pass
@pytest.mark.parametrize("by", [plainly, reentrantly, recorded])
def test_where_nothing_is_random_all_passes_of_the_reference_are_alike(by: Checkpoint) -> None:
    torch.testing.assert_close(gradients(0.0, by), gradients(0.0, None))


def test_where_it_has_dropout_the_contexts_bring_its_moments_back() -> None:
    torch.testing.assert_close(gradients(0.5, recorded), gradients(0.5, None))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("whole", [plainly, reentrantly, recorded])
def test_where_the_reference_is_recomputed_too_it_draws_the_same(whole: Checkpoint) -> None:
    torch.testing.assert_close(gradients(0.5, None, whole), gradients(0.5, None))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize(("by", "error"), [(plainly, CheckpointError), (reentrantly, RuntimeError)])
def test_without_them_another_gradient_is_an_error(by: Checkpoint, error: type) -> None:
    with pytest.raises(error):
        gradients(0.5, by)

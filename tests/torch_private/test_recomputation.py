import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError, checkpoint

from bnconvert.torch_private.recomputation import is_unguarded_recomputation, with_recomputation_key


class Probe(nn.Module):
    """Notes whether it is recomputed unguarded, and marks its input by its key."""

    def __init__(self) -> None:
        super().__init__()
        self.key = 1
        self.seen: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(is_unguarded_recomputation())
        return with_recomputation_key(x, self.key).square()


@pytest.mark.parametrize("reentrant", [False, True])
def test_only_a_reentrant_recomputation_is_unguarded(reentrant: bool) -> None:
    probe = Probe()
    checkpoint(probe, torch.ones(2, requires_grad=True), use_reentrant=reentrant).sum().backward()
    assert probe.seen == [False, reentrant]


def test_a_recomputation_with_another_key_raises() -> None:
    probe = Probe()
    y = checkpoint(probe, torch.ones(2, requires_grad=True), use_reentrant=False)
    probe.key = 2
    with pytest.raises(CheckpointError):
        y.sum().backward()


def test_a_mark_changes_no_number_and_no_gradient() -> None:
    x = torch.randn(3, requires_grad=True)
    y = with_recomputation_key(x, 5)
    assert torch.equal(y, x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    assert torch.equal(gradient, 2 * x)
    with torch.no_grad():
        assert with_recomputation_key(x, 5) is x

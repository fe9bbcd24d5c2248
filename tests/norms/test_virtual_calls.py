"""Virtual batch norm, and how often a forward calls it: several times, in a loop, hidden."""

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.norms.test_virtual import REFERENCE
from tests.zoo import build


def test_a_norm_of_several_calls_is_refused() -> None:
    model, _ = build("norm_called_twice")
    with pytest.raises(bnc.RefusedError, match="called 2 times in one forward, and the reference"):
        bnc.convert(model, bnc.Virtual(REFERENCE))


class Steps(nn.Module):
    """Calls its norm once for each step; torch.fx cannot count them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.norm(x[:, step]) for step in range(x.shape[1])])


class Halving(Steps):
    def forward(self, x: Tensor) -> Tensor:
        while x.abs().max() > 1:
            x = self.norm(x / 2) / 2
        return x


@pytest.mark.parametrize(
    ("model", "reference"),
    [(Steps(), torch.randn(8, 2, 3)), (Halving(), torch.full((8, 3), 9.0))],
)
def test_a_norm_that_a_loop_calls_is_refused(model: nn.Module, reference: Tensor) -> None:
    (refusal,) = bnc.plan(model, bnc.Virtual(reference)).refusals
    assert "times in one forward, and the reference's moments of one call" in refusal
    assert torch.equal(model.get_buffer("norm.num_batches_tracked"), torch.tensor(0))


def test_hidden_calls_are_counted_with_the_reference() -> None:
    assert bnc.plan(Steps(), bnc.Virtual(torch.randn(8, 1, 3))).refusals == ()
    (refusal,) = bnc.plan(Steps(), bnc.Virtual(torch.randn(8, 1, 4))).refusals
    assert "the reference does not run through the model (RuntimeError" in refusal


def test_a_reference_that_comes_twice_after_all_is_an_error() -> None:
    class More(Steps):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.cat([x, x], 1) if self.training else x)

    model = bnc.convert(More(), bnc.Virtual(torch.randn(8, 1, 3))).train()
    with pytest.raises(RuntimeError, match="called twice in one forward of its reference"):
        model(torch.randn(4, 1, 3))
    assert torch.equal(model.get_buffer("norm.running_mean"), torch.zeros(3))

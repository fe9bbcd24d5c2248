import torch
from torch import Tensor, nn

from bnconvert.norms.call_count import calls_in_forward


class Steps(nn.Module):
    """Calls its norm once for each step, and keeps how many there were."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.steps = nn.BatchNorm1d(3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps = x.shape[1]
        return torch.stack([self.norm(x[:, step]) for step in range(self.steps)])


def test_calls_are_counted_and_the_model_is_as_it_was() -> None:
    model = Steps()
    assert [calls_in_forward(model, (torch.randn(2, n, 3),), model.norm) for n in (1, 3)] == [1, 3]
    assert model.training
    assert model.steps == 0
    assert not model.norm._forward_pre_hooks
    assert torch.equal(model.norm.get_buffer("running_mean"), torch.zeros(3))

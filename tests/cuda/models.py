"""Models, images and comparisons of the tests on a CUDA device."""

import copy

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

IMAGES = torch.randn(16, 3, 12, 10, generator=torch.Generator().manual_seed(0)) * 2 + 1


class Deep(nn.Module):
    """Two blocks, a shared norm, a residual addition, and a head with a one-dimensional norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.SiLU(), nn.Linear(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y: Tensor = self.head((x + self.norm(self.second(x))).relu().mean((2, 3)))
        return y


def on_cuda(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).cuda()


def stepped(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Return output, gradients and buffers of one step, on the CPU."""
    y = model(x)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(y.float().square().mean(), parameters, allow_unused=True)
    return [t.cpu() for t in (y, *(g for g in gradients if g is not None), *model.buffers())]


def tensors_of(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def assert_close(first: list[Tensor], second: list[Tensor], tolerance: float) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def codes(report: bnc.Report) -> list[str]:
    return sorted(f.id for f in report.findings)

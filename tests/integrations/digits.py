"""A small network and real digits, for fits that take a second."""

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset


class Backbone(nn.Sequential):
    """Convolutions with batch norms."""

    def __init__(self, momentum: float = 0.1) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16, momentum=momentum),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32, momentum=momentum),
            nn.ReLU(),
        )


class Network(nn.Module):
    """A backbone and a head."""

    def __init__(self, momentum: float = 0.1) -> None:
        super().__init__()
        self.backbone, self.head = Backbone(momentum), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.backbone(x).mean((2, 3)))
        return scores


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Return training and validation images (N, 1, 8, 8) and their classes."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(classes)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    return TensorDataset(x[:600], y[:600]), TensorDataset(x[600:1000], y[600:1000])

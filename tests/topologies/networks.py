"""Small networks in which several folds must work together."""

import torch
from torch import Tensor, nn

from tests.topologies.layers import Cat, Sum, normed
from tests.topologies.topology import Topology


class Mixed(nn.Module):
    """AIMET's: norms behind, between and side by side, then a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*normed(nn.Conv2d(4, 8, 3, padding=1)), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(8, 8, 2), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 2, stride=2)
        )
        self.first, self.second = nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.head = nn.Linear(6 * 3 * 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(self.stem(x))
        output: Tensor = self.head((self.first(y) + self.second(y)).view(x.shape[0], -1))
        return output


class TwoInputs(nn.Module):
    """Two inputs that meet in a sum, with paddings and pooling before."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            *normed(nn.Conv2d(4, 6, 3, padding=1)), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.vector = normed(nn.Linear(5, 24))
        self.norm, self.head = nn.BatchNorm1d(24), nn.Linear(24, 3)

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        y: Tensor = self.head(self.norm(self.image(image) + self.vector(vector)))
        return y


def _pre_activated(width: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 4, 3, padding=1))


def _dense_block() -> nn.Module:
    """DenseNet's: every norm normalizes everything before it."""
    stem = nn.Conv2d(4, 4, 3, padding=1)
    blocks = (Cat(nn.Identity(), _pre_activated(4 * number)) for number in (1, 2))
    return nn.Sequential(stem, *blocks, nn.BatchNorm2d(12), nn.Conv2d(12, 5, 1))


def _decoder() -> nn.Module:
    up = normed(nn.ConvTranspose2d(4, 6, 2, 2), affine=False)
    return nn.Sequential(*up, nn.ReLU(), *normed(nn.ConvTranspose2d(6, 4, 3, groups=2)), nn.Tanh())


def _skip() -> nn.Module:
    """A decoder's step: something coarse, resized, beside something fine, then a norm."""
    coarse = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(4, 6, 1), nn.Upsample(scale_factor=2))
    fine = nn.Sequential(*normed(nn.Conv2d(4, 6, 3, padding=1)))
    return nn.Sequential(Cat(coarse, fine), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 4, 1))


def _visformer() -> nn.Module:
    def block() -> nn.Module:
        inner = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 8, 1), nn.GELU(), nn.Conv2d(8, 4, 1))
        return Sum(nn.Identity(), inner)

    pooled = nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    return nn.Sequential(block(), block(), *pooled)


class Recurrent(nn.Module):
    """One block called three times on its own output."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(*normed(nn.Conv2d(4, 4, 3, padding=1)), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.block(x)
        return torch.sigmoid(x)


TOPOLOGIES = (
    Topology("network_mixed", Mixed, gone=4, convs=3, arithmetic=0, dynamic=True),
    Topology(
        "network_two_inputs", TwoInputs, ((2, 4, 8, 8), (2, 5)), gone=3, arithmetic=1, dynamic=True
    ),
    Topology(
        "network_dense_block",
        _dense_block,
        gone=2,
        standing=("multiplication is folded",),
        positive=True,
        arithmetic=1,
    ),
    Topology("network_decoder", _decoder, gone=2, convs=2, arithmetic=0),
    Topology("network_skip", _skip, gone=2, convs=3, arithmetic=0, dynamic=True),
    Topology("network_visformer", _visformer, gone=3, arithmetic=2),
    Topology("network_recurrent", Recurrent, gone=3, convs=3, arithmetic=0),
)

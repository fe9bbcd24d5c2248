"""Networks whose norms are folded, and how far two outputs are apart."""

import copy

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """A residual network in small: every norm follows a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.up, self.bn3 = nn.ConvTranspose2d(8, 6, 2, stride=2, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)) + y)
        z: Tensor = self.head(F.relu(self.bn3(self.up(y))))
        return z.mean((2, 3))


class Shipped(nn.Module):
    """What somebody folded by hand: no module is left where the norms were."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 6, 2)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.up(self.conv(x).relu()).relu())
        return y


def relative(value: Tensor, truth: Tensor) -> float:
    return float((value - truth).norm() / truth.norm())


def without_memory(graft: nn.Module) -> nn.Module:
    """Return a graft as its state_dict alone would give it: nothing is known of its norms."""
    bare = copy.deepcopy(graft)
    for path, module in graft.named_modules():
        if isinstance(module, nn.Identity):
            bare.set_submodule(path, nn.Identity())
    return bare

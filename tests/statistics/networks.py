"""Networks that are measured, and batches of unequal sizes and means."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from tests.zoo import Net, trained

SIZES = [2, 2, 4, 8, 16, 3]


class Inception(nn.Module):
    """Branches that are concatenated, as in GoogLeNet, in two stages."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([self._stage(3), self._stage(16)])

    def _stage(self, channels: int) -> nn.ModuleList:
        def branch(kernel: int) -> nn.Module:
            conv = nn.Conv2d(channels, 8, kernel, padding=kernel // 2, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU())

        return nn.ModuleList([branch(1), branch(3)])

    def forward(self, x: Tensor) -> Tensor:
        for branches in self.stages:
            assert isinstance(branches, nn.ModuleList)
            x = torch.cat([branch(x) for branch in branches], 1)
        return x


class DataBranch(nn.Module):
    """A branch that depends on the data: no trace can follow it, both sides reach all norms."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Net(), Net()
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = y - y.mean() if bool(y.sum() > 0) else y.abs()
        output: Tensor = self.bn(y + self.second(x))
        return output


def vector_net() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8)
    )


def volume_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 4, 1), nn.BatchNorm3d(4)
    )


def torchvision_net(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        models = pytest.importorskip("torchvision.models")
        options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        built: nn.Module = models.get_model(name, weights=None, **options)
        return built

    return build


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18": (torchvision_net("resnet18"), (3, 32, 32)),
    "densenet121": (torchvision_net("densenet121"), (3, 32, 32)),
    "googlenet": (torchvision_net("googlenet"), (3, 32, 32)),
    "inception_like": (Inception, (3, 12, 12)),
    "data_branch": (DataBranch, (3, 10, 10)),
    "vector": (vector_net, (6,)),
    "volume": (volume_net, (3, 5, 5, 5)),
}


def built(
    name: str, dtype: torch.dtype = torch.float64, sizes: Sequence[int] = SIZES
) -> tuple[nn.Module, list[Tensor]]:
    """Return a model with trained-looking norms, and unequal batches with different means."""
    torch.manual_seed(0)
    build, shape = MODELS[name]
    model = trained(build()).to(dtype)
    x = torch.randn(sum(sizes), *shape, dtype=torch.float64)
    x = x * torch.linspace(0.5, 2, len(x)).reshape(-1, *[1] * len(shape)) + 0.3
    return model, list(x.to(dtype).split(list(sizes)))


LARGE = {"resnet18", "densenet121", "googlenet"}

SWEEP = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in MODELS]

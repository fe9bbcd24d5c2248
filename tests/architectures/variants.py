"""Models with other norms than they come with, and models that share modules."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from tests.architectures.architecture import Architecture, images
from tests.architectures.timm_models import created


class SharedNorm(nn.Module):
    """One norm behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.relu(self.norm(self.first(x))) + self.norm(self.second(x))
        return y


class SharedConv(nn.Module):
    """One convolution before two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.first, self.second = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.relu(self.first(self.conv(x))) + self.second(self.conv(x.flip(3)))
        return y


class SharedHead(nn.Module):
    """One head, convolution and norm, on two levels of a pyramid."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.head = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        return self.head(x), self.head(F.avg_pool2d(x, 2))


class Siamese(nn.Module):
    """One network on an image and on its mirror image."""

    def __init__(self) -> None:
        super().__init__()
        self.net = created("resnet18")()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x) - self.net(x.flip(3))
        return y


def frozen_torchvision() -> nn.Module:
    from torchvision.models import resnet18
    from torchvision.ops import FrozenBatchNorm2d

    model: nn.Module = resnet18(weights=None, norm_layer=FrozenBatchNorm2d)
    return model


def frozen_backbone() -> nn.Module:
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d

    model: nn.Module = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d
    )
    return model


def synchronized() -> nn.Module:
    from torchvision.models import resnet18

    model: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(resnet18(weights=None))
    return model


def by_timm(name: str, conversion: str, *arguments: int) -> Callable[[], nn.Module]:
    """Return what builds a timm model and lets timm convert its norms."""

    def build() -> nn.Module:
        from timm import layers

        convert = getattr(layers, conversion)
        model: nn.Module = convert(created(name)(), *arguments)
        return model

    return build


VARIANTS = tuple(
    Architecture("var", name, build, images())
    for name, build in (
        ("tv_resnet18_frozen", frozen_torchvision),
        ("timm_resnet_frozen", by_timm("resnet18", "freeze_batch_norm_2d")),
        ("timm_byobnet_frozen", by_timm("test_byobnet", "freeze_batch_norm_2d")),
        ("tv_fasterrcnn_bb_frozen", frozen_backbone),
        ("tv_resnet18_sync", synchronized),
        ("timm_byobnet_syncact", by_timm("test_byobnet", "convert_sync_batchnorm")),
        ("timm_resnet_splitbn", by_timm("resnet18", "convert_splitbn_model", 2)),
        ("shared_bn", SharedNorm),
        ("shared_conv", SharedConv),
        ("shared_convbn", SharedHead),
        ("siamese_resnet18", Siamese),
    )
)

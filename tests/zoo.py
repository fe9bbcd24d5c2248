"""Small models, each awkward in one way, with statistics that hide nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class ZooModel:
    """A way to build a model in eval mode, and inputs that it takes."""

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[Any, ...]


def trained(model: Model, seed: int = 0) -> Model:
    """Give every norm statistics and affine as after training, in place; return it in eval mode.

    A tenth of the gammas is negative; variances span two orders of magnitude.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(like.shape, generator=generator)).to(like.dtype)

    with torch.no_grad():
        for module in model.modules():
            if not isinstance(module, _NormBase | FrozenBatchNorm2d):
                continue
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.copy_(uniform(module.running_mean, -0.5, 0.5))
                module.running_var.copy_(10 ** uniform(module.running_var, -1, 1))
            if module.weight is not None:
                signs = torch.sign(uniform(module.weight, -0.1, 0.9))
                module.weight.copy_(uniform(module.weight, 0.5, 1.5) * signs)
            if module.bias is not None:
                module.bias.copy_(uniform(module.bias, -0.5, 0.5))
            counter = getattr(module, "num_batches_tracked", None)
            if counter is not None:
                counter.fill_(100)
    return model.eval()


def laid_out(model: Model, memory: torch.memory_format) -> Model:
    """Give the weights a memory format, in place.

    In torch 2.13 the types of `Module.to` do not know that it can.
    """
    move: Callable[..., object] = model.to
    move(memory_format=memory)
    return model


def without_bias(norm: Model) -> Model:
    """Take a new norm's bias away, in place: as `bias=False` does, which torch 2.10 lacks."""
    norm.register_parameter("bias", None)
    return norm


def norm_with(kind: Callable[..., Model], *, bias: bool = True, **settings: Any) -> Model:
    """Make a norm of five channels of one of torch's classes."""
    norm = kind(5, **settings)
    return norm if bias else without_bias(norm)


class FrozenBatchNorm2d(nn.Module):
    """The frozen norm that many packages copy: four buffers, and no batch counter."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


class OwnBatchNorm2d(nn.BatchNorm2d):
    """A subclass that only adds an attribute."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.03)
        self.nickname = "own"


class ScaledBatchNorm2d(nn.BatchNorm2d):
    """A subclass whose forward does more than the norm."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(super().forward(x))


class Net(nn.Module):
    """Convolution, norm, ReLU; the other models change one thing."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = norm(8)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(F.relu(self.norm(self.conv(x))))
        return y


class Residual(nn.Module):
    """A residual block with in-place activations and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.relu, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        z = self.bn2(self.drop(self.conv2(y)))
        z += y
        output: Tensor = self.relu(z)
        return output


class OneNormTwoNames(nn.Module):
    """One norm module at two names of one parent."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
        self.first = nn.BatchNorm2d(8)
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.conv2(F.relu(self.first(self.conv1(x)))))
        return y


class OneNormTwoParents(nn.Module):
    """One norm module inside two blocks."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(8)
        self.left = nn.Sequential(nn.Conv2d(3, 8, 1), norm)
        self.right = nn.Sequential(nn.Conv2d(3, 8, 1), norm)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.left(x) + self.right(x)
        return y


class NormCalledTwice(nn.Module):
    """One norm called behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv1(x)) - F.relu(self.norm(self.conv2(x)))
        return y


class ConvCalledTwice(nn.Module):
    """One convolution called twice, with a norm of its own for each call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm2(self.conv(F.relu(self.norm1(self.conv(x)))))
        return y


class WeightReadElsewhere(nn.Module):
    """A convolution whose weight is read a second time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x)) * self.conv.weight.square().sum()
        return y


class OutputReadElsewhere(nn.Module):
    """A convolution whose output has a second reader."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        output: Tensor = self.norm(y) + y
        return output


class LinearOnSequences(nn.Module):
    """Linear makes features on the last axis; the norm takes axis 1, of the same size."""

    def __init__(self, size: int = 6) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(size, size), nn.BatchNorm1d(size)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.linear(x))
        return y


class FunctionalNorm(nn.Module):
    """A norm without a module."""

    mean: Tensor
    var: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.register_buffer("mean", torch.linspace(-0.5, 0.5, 8))
        self.register_buffer("var", torch.linspace(0.5, 2, 8))
        self.gamma = nn.Parameter(torch.linspace(0.5, 1.5, 8))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(self.conv(x), self.mean, self.var, self.gamma, None, False, 0.1, 1e-3)


class StandardizedConv(nn.Module):
    """A convolution that standardizes its weight by a batch norm kernel, with a norm behind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight
        flat = weight.reshape(1, weight.shape[0], -1)
        standard = F.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6)
        y: Tensor = self.norm(F.conv2d(x, standard.reshape_as(weight), self.conv.bias))
        return y


class BranchInRoot(nn.Module):
    """Control flow on data in the root forward."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] > 0 and x.ndim == 4:
            x = self.net(x)
        return x if bool(x.shape[-1] > 1) else x.flatten(1)


class BranchInChild(nn.Module):
    """Control flow in a submodule; the rest can be traced."""

    class Closed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x)) if x.shape[1] == 8 else x

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.closed = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), self.Closed()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.closed(F.relu(self.norm(self.conv(x))))
        return y


class TwoInputs(nn.Module):
    """Two inputs, and a dictionary of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.linear, self.norm1d = nn.Linear(5, 8), nn.BatchNorm1d(8)

    def forward(self, image: Tensor, vector: Tensor) -> dict[str, Tensor]:
        code = self.norm1d(self.linear(vector))
        return {"map": self.norm(self.conv(image)) + code[:, :, None, None], "code": code}


class CacheInForward(nn.Module):
    """A forward that fills a cache and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.cache: dict[str, Tensor] = {}
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if "ones" not in self.cache:
            self.cache["ones"] = x.new_ones(1)
        y: Tensor = self.net(x) * self.cache["ones"]
        return y


class HeldInList(nn.Module):
    """A norm that a plain list holds beside the module tree, and the forward calls there."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
        self.norms = [self.norm]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norms[0](self.conv(x))
        return y


def tied_norms() -> nn.Module:
    """Return two norms that share one weight Parameter."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
    )
    model[3].weight = model[1].weight
    return model


def hooked() -> nn.Module:
    """Return a net whose norm has a forward hook that changes its output."""
    net = Net()
    net.norm.register_forward_hook(lambda module, inputs, output: output * 2 + 1)
    return net


def dead_channels() -> nn.Module:
    """Return a net with gamma 0 and variance 0 in some channels."""
    net = Net()
    trained(net)
    with torch.no_grad():
        net.get_parameter("norm.weight")[0] = 0
        net.get_buffer("norm.running_var")[1] = 0
    return net


IMAGE = (torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)),)
VECTOR = (torch.randn(4, 6, generator=torch.Generator().manual_seed(2)),)
SERIES = (torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(3)),)
VOLUME = (torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(4)),)
SQUARE = (torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(5)),)


def _zoo() -> list[ZooModel]:
    def conv(build: Callable[[], nn.Module], inputs: tuple[Any, ...] = IMAGE) -> Any:
        return lambda: trained(build()), inputs

    models = {
        "plain": conv(Net),
        "residual": conv(Residual),
        "affine_free": conv(lambda: Net(lambda c: nn.BatchNorm2d(c, affine=False))),
        "weight_without_bias": conv(lambda: Net(lambda c: without_bias(nn.BatchNorm2d(c)))),
        "cumulative_momentum": conv(lambda: Net(lambda c: nn.BatchNorm2d(c, momentum=None))),
        "without_statistics": conv(
            lambda: Net(lambda c: nn.BatchNorm2d(c, track_running_stats=False))
        ),
        "large_eps": conv(lambda: Net(lambda c: nn.BatchNorm2d(c, eps=1e-2))),
        "one_norm_two_names": conv(OneNormTwoNames),
        "one_norm_two_parents": conv(OneNormTwoParents),
        "norm_called_twice": conv(NormCalledTwice),
        "conv_called_twice": conv(ConvCalledTwice),
        "weight_read_elsewhere": conv(WeightReadElsewhere),
        "output_read_elsewhere": conv(OutputReadElsewhere),
        "tied_norms": conv(tied_norms),
        "hooked": conv(hooked),
        "dead_channels": (dead_channels, IMAGE),
        "own_subclass": conv(lambda: Net(OwnBatchNorm2d)),
        "own_forward": conv(lambda: Net(ScaledBatchNorm2d)),
        "frozen_elsewhere": conv(lambda: Net(FrozenBatchNorm2d)),
        "sync": conv(lambda: Net(nn.SyncBatchNorm)),
        "functional": conv(FunctionalNorm),
        "standardized_conv": conv(StandardizedConv),
        "branch_in_root": conv(BranchInRoot),
        "branch_in_child": conv(BranchInChild),
        "cache_in_forward": conv(CacheInForward),
        "held_in_list": conv(HeldInList),
        "pre_activation": conv(
            lambda: nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 8, 3))
        ),
        "two_norms_in_a_row": conv(
            lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.BatchNorm2d(8))
        ),
        "depthwise": conv(lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6))),
        "reflect_padding": conv(
            lambda: nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8)
            )
        ),
        "transposed_grouped": conv(
            lambda: nn.Sequential(
                nn.Conv2d(3, 8, 1), nn.ConvTranspose2d(8, 8, 2, 2, groups=4), nn.BatchNorm2d(8)
            )
        ),
        "series": conv(
            lambda: nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.ReLU()), SERIES
        ),
        "volume": conv(lambda: nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8)), VOLUME),
        "vector": conv(lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8)), VECTOR),
        "linear_on_sequences": conv(LinearOnSequences, SQUARE),
        "two_inputs": conv(
            TwoInputs, (*IMAGE, torch.randn(2, 5, generator=torch.Generator().manual_seed(6)))
        ),
        "root_is_norm": conv(lambda: nn.BatchNorm2d(3)),
        "no_norm": conv(lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())),
        "channels_last": (
            lambda: laid_out(trained(Net()), torch.channels_last),
            (IMAGE[0].to(memory_format=torch.channels_last),),
        ),
        "bfloat16": (lambda: trained(Net()).bfloat16(), (IMAGE[0].bfloat16(),)),
        "float64": (lambda: trained(Net()).double(), (IMAGE[0].double(),)),
    }
    return [ZooModel(name, build, inputs) for name, (build, inputs) in models.items()]


ZOO = _zoo()
BY_NAME = {model.name: model for model in ZOO}


def build(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    """Return a fresh zoo model, always with the same weights, and its inputs."""
    torch.manual_seed(0)
    return BY_NAME[name].build(), BY_NAME[name].inputs

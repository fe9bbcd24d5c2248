"""Networks that are drawn at random: layers, norms, and what may lie between them.

Nobody thought of these: a layer or a norm may be called twice, a value read by anything, a norm
lie behind a pooling behind a sum. The same seed draws the same network.
"""

from collections.abc import Callable
from random import Random
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Call = Callable[..., Tensor]
SHAPE = (3, 4, 8, 8)
_WIDEST = 24
#: How many values back a step may reach.
_REACH = 3


class Excitation(nn.Module):
    """A gate for each channel, computed from the whole image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x.mean((2, 3), keepdim=True)))


class Pixelwise(nn.Module):
    """A linear layer over the channels of each pixel, which lie last for it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(x.permute(0, 2, 3, 1))
        return result.permute(0, 3, 1, 2)


class Scale(nn.Module):
    """Stored numbers, one for each channel or one for all, in a product or a sum."""

    def __init__(self, channels: int, draw: Random) -> None:
        super().__init__()
        self.adds = draw.random() < 0.5
        self.numbers: Tensor
        self.register_buffer(
            "numbers", torch.randn((channels, 1, 1) if draw.random() < 0.7 else ())
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.numbers if self.adds else x * self.numbers


def _norm(channels: int, draw: Random) -> nn.Module:
    norm = nn.BatchNorm2d(channels, eps=draw.choice([1e-5, 1e-2]), affine=draw.random() < 0.75)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.3, 3)
    if norm.affine:
        nn.init.uniform_(norm.weight, 0.2 if draw.random() < 0.5 else -1.5, 2)
        nn.init.normal_(norm.bias)
    return norm


#: Half of the convolutions that pad do so with zeros.
PADDINGS: tuple[Literal["zeros", "reflect", "replicate"], ...] = (
    "zeros",
    "zeros",
    "reflect",
    "replicate",
)


def _conv(channels: int, draw: Random) -> nn.Module:
    padding = draw.choice([0, 1, 1])
    return nn.Conv2d(
        channels,
        draw.choice([4, 6, 8]),
        3,
        padding=padding,
        stride=draw.choice([1, 1, 2]),
        groups=draw.choice([1, 2]) if channels % 2 == 0 else 1,
        bias=draw.random() < 0.5,
        padding_mode=draw.choice(PADDINGS) if padding else "zeros",
    )


def _activation(channels: int, draw: Random) -> nn.Module:
    kinds = (nn.ReLU, nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU)
    return draw.choice(kinds)()


def _pooling(channels: int, draw: Random) -> nn.Module:
    return draw.choice(
        (
            nn.AvgPool2d(2),
            nn.AvgPool2d(3, 1, 1),
            nn.AvgPool2d(3, 1, 1, count_include_pad=False),
            nn.AdaptiveAvgPool2d(3),
            nn.MaxPool2d(2),
            nn.MaxPool2d(3, 1, 1),
        )
    )


def _resizing(channels: int, draw: Random) -> nn.Module:
    mode = draw.choice(["nearest", "bilinear"])
    return nn.Upsample(scale_factor=2, mode=mode)


def _shuffle(channels: int, draw: Random) -> Call:
    return lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


def _slice(channels: int, draw: Random) -> Call:
    start = draw.randrange(channels)
    return lambda x: x[:, start:]


def _halves(channels: int, draw: Random) -> Call:
    def halves(x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return first + 2 * second

    return halves


def _padding(channels: int, draw: Random) -> Call:
    value = draw.choice([0.0, 1.0])
    return lambda x: F.pad(x, (1, 0, 1, 1), value=value)


#: What reads one value, by how often it is drawn: a layer of so many channels.
ONE: dict[Callable[[int, Random], Call], int] = {
    _norm: 5,
    _conv: 3,
    lambda channels, draw: nn.Conv2d(channels, draw.choice([4, 6]), 1, bias=False): 2,
    lambda channels, draw: nn.Conv2d(channels, channels, 3, padding=1, groups=channels): 1,
    lambda channels, draw: nn.ConvTranspose2d(channels, 4, 2, stride=2): 1,
    _activation: 3,
    _pooling: 2,
    _resizing: 1,
    _shuffle: 1,
    _slice: 1,
    _halves: 1,
    _padding: 1,
    lambda channels, draw: Scale(channels, draw): 3,
    lambda channels, draw: Excitation(channels): 1,
    lambda channels, draw: Pixelwise(channels): 1,
    lambda channels, draw: nn.Dropout2d(): 1,
}
#: What reads two values.
TWO: tuple[Call, ...] = (torch.add, torch.sub, lambda *values: torch.cat(values, 1))


class RandomNetwork(nn.Module):
    """A network in eval mode, in float64, that returns whatever it does not read itself."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = Random(seed)
        self.layers = nn.ModuleList()
        self._steps: list[tuple[Call, tuple[int, ...]]] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            values = [torch.randn(SHAPE)]
            for _ in range(draw.randint(6, 16)):
                call, sources = self._drawn(values, draw)
                try:
                    values.append(call(*(values[i] for i in sources)))
                except (RuntimeError, ValueError):
                    continue  # the shapes do not fit
                self._steps.append((call, sources))
                if isinstance(call, nn.Module) and call not in list(self.layers):
                    self.layers.append(call)
        read = {i for _, sources in self._steps for i in sources}
        self._results = [i for i in range(1, len(values)) if i not in read]
        self.double().eval()

    def _drawn(self, values: list[Tensor], draw: Random) -> tuple[Call, tuple[int, ...]]:
        """Draw a step, or one that was drawn before with another value to read."""
        recent = range(max(0, len(values) - _REACH), len(values))
        source, other = draw.choice(recent), draw.randrange(len(values))
        channels = values[source].shape[1]
        kind = draw.random()
        if channels > _WIDEST:
            return _slice(channels, draw), (source,)
        if kind < 0.25:
            return draw.choice(TWO), (source, other)
        if kind < 0.35 and len(self.layers):
            return draw.choice(list(self.layers)), (source,)
        (make,) = draw.choices(list(ONE), weights=list(ONE.values()))
        layer = make(channels, draw)
        return layer.eval() if isinstance(layer, nn.Module) else layer, (source,)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values = [x]
        for call, sources in self._steps:
            values.append(call(*(values[i] for i in sources)))
        return tuple(values[i] for i in self._results)

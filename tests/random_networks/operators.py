"""Functions to draw: what may lie between layers, of any number of spatial axes."""

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.random_networks.layers import Call, Maker

Function = Callable[[Tensor], Tensor]


def _shuffle(rank: int, channels: int, draw: Random) -> Call:
    def by_views(x: Tensor) -> Tensor:
        pairs: Tensor = x.unflatten(1, (2, -1))
        return pairs.transpose(1, 2).flatten(1, 2)

    return draw.choice((by_views, lambda x: F.channel_shuffle(x, 2)))


def _pixel_shuffle(rank: int, channels: int, draw: Random) -> Call:
    return draw.choice((lambda x: F.pixel_shuffle(x, 2), lambda x: F.pixel_unshuffle(x, 2)))


def _slice(rank: int, channels: int, draw: Random) -> Call:
    start, step = draw.randrange(channels), draw.choice((1, 1, 2))
    ways: list[Function] = [
        lambda x: x[:, start::step],
        lambda x: x.narrow(1, start, 1),
        lambda x: x.index_select(1, torch.arange(start, channels)),
        lambda x: x.select(1, start).unsqueeze(1),
    ]
    if rank:
        ways += [lambda x: x[:, :, 1:], lambda x: x[..., ::2]]
    return draw.choice(ways)


def _parts(rank: int, channels: int, draw: Random) -> Call:
    def halves(x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return first + 2 * second

    def sizes(x: Tensor) -> Tensor:
        first, second = x.split([1, x.shape[1] - 1], 1)
        return torch.cat([second, first], 1)

    def alternating(x: Tensor) -> Tensor:
        return x[:, ::2] - x[:, 1::2]

    def unbound(x: Tensor) -> Tensor:
        return torch.stack(list(x.unbind(1))[::-1], 1)

    return draw.choice((halves, sizes, alternating, unbound))


def _padding(rank: int, channels: int, draw: Random) -> Call:
    value, mode = draw.choice((0.0, 1.0)), draw.choice(("reflect", "replicate", "circular"))
    both = [1, 0] * rank
    ways: tuple[Function, ...] = (
        lambda x: F.pad(x, both, value=value),
        lambda x: F.pad(x, [*both, 0, 1], value=value),
        lambda x: F.pad(x, both, mode=mode),
        lambda x: F.pad(x, [-1, 1] * rank, value=value),
    )
    return draw.choice(ways if rank else (lambda x: F.pad(x, (0, 1), value=value),))


def _resizing(rank: int, channels: int, draw: Random) -> Call:
    smooth = {1: "linear", 2: "bilinear", 3: "trilinear"}[rank]
    mode, aligned = draw.choice(("nearest", "nearest-exact", smooth)), draw.random() < 0.5
    corners = aligned if mode == smooth else None
    ways: list[Function] = [
        lambda x: F.interpolate(x, scale_factor=2, mode=mode, align_corners=corners),
        lambda x: F.interpolate(x, size=[5] * rank, mode=mode, align_corners=corners),
    ]
    if rank == 2:
        ways.append(lambda x: F.interpolate(x, size=[5, 6], mode="bicubic"))
        ways.append(lambda x: F.interpolate(x, size=[5, 6], mode="bilinear", antialias=True))
    return draw.choice(ways)


def _reduction(rank: int, channels: int, draw: Random) -> Call:
    axes = tuple(range(2, 2 + rank))
    ways: tuple[Function, ...] = (
        lambda x: x.mean(axes, keepdim=True),
        lambda x: x.amax(axes, keepdim=True),
        lambda x: x.mean(axes)[(..., *[None] * rank)],
        lambda x: x - x.mean(axes, keepdim=True),
        lambda x: x * x.flatten(2).softmax(-1).reshape(x.shape),
        lambda x: x / (1 + x.norm(dim=1, keepdim=True)),
        lambda x: F.adaptive_avg_pool1d(x.flatten(2), 1).reshape(*x.shape[:2], *[1] * rank),
    )
    return draw.choice(ways)


def _arithmetic(rank: int, channels: int, draw: Random) -> Call:
    number = draw.choice((-2, 0.5, 3, 0))
    ways: tuple[Function, ...] = (
        lambda x: x * number,
        lambda x: number - x,
        lambda x: x / 3,
        lambda x: -x,
        lambda x: torch.rsub(x, number, alpha=2),
        lambda x: torch.sub(x, number, alpha=2),
        lambda x: x + number,
        lambda x: x.abs(),
        lambda x: x * x,
        lambda x: x + x,
        lambda x: x.clamp(-1, 1),
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: torch.lerp(x, x.flip(1), 0.25),
        lambda x: torch.addcmul(x, x, torch.tensor(0.5, dtype=x.dtype), value=2),
        lambda x: F.dropout(x, 0.5, training=False),
        lambda x: torch.minimum(x, torch.tensor(1.0, dtype=x.dtype)),
        lambda x: x + x.shape[0] * 0.5,
    )
    return draw.choice(ways)


def _rearrangement(rank: int, channels: int, draw: Random) -> Call:
    ways: list[Function] = [
        lambda x: x.flip(draw_axis),
        lambda x: x.roll(1, draw_axis),
        lambda x: x.unsqueeze(1).expand(-1, 2, *[-1] * (rank + 1)).flatten(1, 2),
        lambda x: x.unsqueeze(2).expand(-1, -1, 2, *[-1] * rank).reshape(len(x), -1, *x.shape[2:]),
        lambda x: x.repeat(1, 2, *[1] * rank),
        lambda x: x.repeat_interleave(2, 1),
        lambda x: x.unsqueeze(-1).squeeze(-1),
        lambda x: x.contiguous().view(x.shape),
        lambda x: x.clone().detach(),
        lambda x: x.tile((2,) + (1,) * rank),
    ]
    draw_axis = draw.randrange(1, 2 + rank)
    if rank:
        ways.append(lambda x: x.transpose(1, 2).transpose(2, 1))
        ways.append(lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1))
        ways.append(lambda x: x.flatten(2).unflatten(2, x.shape[2:]))
    if rank == 2:
        ways.append(lambda x: x.mT)
        ways.append(lambda x: F.unfold(x, 1).reshape(x.shape))
    return draw.choice(ways)


def _cast(rank: int, channels: int, draw: Random) -> Call:
    dtype = draw.choice((torch.float16, torch.bfloat16, torch.float64, torch.float32))
    ways: tuple[Function, ...] = (
        lambda x: x.to(dtype).to(x.dtype),
        lambda x: (x.to(dtype) * 0.5).type_as(x),
        lambda x: F.relu(x.to(dtype)).to(x.dtype),
    )
    return draw.choice(ways)


def _in_place(rank: int, channels: int, draw: Random) -> Call:
    """Draw a change in place: of a copy, of the value itself, or through a view of it."""
    copies = draw.random() < 0.7
    k = draw.randrange(channels)

    def part(x: Tensor) -> Tensor:
        x[:, k].mul_(2)
        return x

    def assigned(x: Tensor) -> Tensor:
        x[:, k:] = x[:, k:] + 1
        return x

    def flat(x: Tensor) -> Tensor:
        # a value that is channels_last has no such view
        (x.view(len(x), -1) if x.is_contiguous() else x.transpose(0, 1)).add_(1)
        return x

    def moved(x: Tensor) -> Tensor:
        x.transpose(0, 1)[k].clamp_(min=0)
        return x

    def rectified(x: Tensor) -> Tensor:
        return F.relu(x, inplace=True)

    change = draw.choice((part, assigned, flat, moved, rectified))
    return (lambda x: change(x.clone())) if copies else change


#: What reads one value, by how often it is drawn.
ONE: dict[Maker, int] = {
    _shuffle: 1,
    _pixel_shuffle: 1,
    _slice: 2,
    _parts: 2,
    _padding: 1,
    _resizing: 2,
    _reduction: 1,
    _arithmetic: 4,
    _rearrangement: 3,
    _in_place: 1,
}
CASTS: dict[Maker, int] = {_cast: 3}
#: What reads two values.
TWO: tuple[Call, ...] = (
    torch.add,
    torch.add,
    torch.sub,
    torch.mul,
    lambda a, b: torch.add(a, b, alpha=-2),
    lambda a, b: torch.cat([a, b], 1),
    lambda a, b: torch.cat([a, b], 1),
    lambda a, b: torch.cat([b, a[:, :0], a], 1),
    lambda a, b: torch.stack([a, b], 1).flatten(1, 2),
    lambda a, b: torch.cat([a, b], -1),
    lambda a, b: a + 2 * b,
    lambda a, b: torch.maximum(a, b),
    lambda a, b: a / (1 + b.abs()),
)

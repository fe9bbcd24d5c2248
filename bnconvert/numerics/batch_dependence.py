"""How samples depend on their place among the batches: more than in a shuffled order, or not.

Every figure is compared with the same figure of 199 shuffled orders (a permutation test; Fisher,
"The Design of Experiments", 1935), seeded. Channels count alike: each is divided by its spread.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_ORDERS, _SEED = 199, 0


@dataclass(frozen=True)
class Dependence:
    """A figure of the given order, and the largest one of the shuffled orders.

    Attributes:
        value: the figure.
        chance: of shuffled samples.
        lag: how far apart samples are most alike; 0 where the figure is about whole batches.
    """

    value: float
    chance: float
    lag: int = 0


def share_between_batches(samples: Tensor, sizes: Sequence[int]) -> Dependence:
    """Return the share of the variance of samples that lies between batches.

    It is the intraclass correlation (Fisher, 1925), (MSB - MSW) / (MSB + (n - 1) MSW) with the mean
    squares between and within batches of n samples: 0 for shuffled data, 1 for batches of equal
    samples.

    Args:
        samples: shape (N, c), float64, in the order of the batches.
        sizes: the number of samples of each batch, at least two batches; they add up to N.
    """
    scaled = _scaled(samples)
    bounds = torch.tensor(sizes, device="cpu")
    batch = torch.repeat_interleave(torch.arange(len(sizes), device="cpu"), bounds)
    members = torch.nn.functional.one_hot(batch).double().T / bounds[:, None]
    counts = bounds.double()[:, None]
    total = float(scaled.square().sum())
    typical = (len(samples) - float(counts.square().sum()) / len(samples)) / (len(sizes) - 1)

    def share(order: Tensor) -> float:
        between = float((counts * (members @ scaled[order]).square()).sum())
        msb = between / (len(sizes) - 1)
        msw = (total - between) / max(len(samples) - len(sizes), 1)
        return (msb - msw) / max(msb + (typical - 1) * msw, 1e-30)

    orders = _orders(1, len(samples))
    return Dependence(
        share(torch.arange(len(samples), device="cpu")), max(share(o[0]) for o in orders)
    )


def similarity_in_batches(samples: Tensor) -> Dependence:
    """Return how alike the samples of a batch are that are some places apart, at the best lag.

    It is the circular autocorrelation of the samples of each batch around the batch's mean, mean
    over batches and channels: groups of k neighbors show at lag 1, two views of the same images,
    one after the other, at half of the batch.

    Args:
        samples: shape (B, n, c), float64: batches of n samples, at least four.
    """
    scaled = _scaled(samples.flatten(0, 1)).view_as(samples)
    scaled = scaled - scaled.mean(1, keepdim=True)
    batches, count, channels = scaled.shape

    def correlations(values: Tensor) -> Tensor:
        power = torch.fft.rfft(values, dim=1).abs().square().sum((0, 2))
        found: Tensor = torch.fft.irfft(power, n=count)
        nearer: Tensor = found[1 : count // 2 + 1] / found[0].clamp_min(1e-30)
        return nearer

    own = correlations(scaled)
    lag = int(own.argmax())
    shuffled = (
        scaled.gather(1, order[:, :, None].expand(-1, -1, channels))
        for order in _orders(batches, count)
    )
    chance = max(float(correlations(values).max()) for values in shuffled)
    return Dependence(float(own[lag]), chance, lag + 1)


def similarity_across_ends(samples: Tensor) -> float:
    """Return how the last samples of each batch correlate with the first ones of the next.

    Args:
        samples: shape (B, n, c), float64, at least two batches.
    """
    scaled = _scaled(samples.flatten(0, 1)).view_as(samples)
    some = max(1, samples.shape[1] // 8)
    last, first = scaled[:-1, -some:].mean(1), scaled[1:, :some].mean(1)
    norm = (last.square().mean() * first.square().mean()).sqrt().clamp_min(1e-30)
    return float((last * first).mean() / norm)


def _scaled(samples: Tensor) -> Tensor:
    """Return samples around their mean, each channel by its spread; constant ones become 0."""
    centered = samples - samples.mean(0)
    spread = centered.square().mean(0).sqrt()
    return torch.where(spread > 1e-12, centered / spread.clamp_min(1e-12), 0.0)


def _orders(rows: int, count: int) -> list[Tensor]:
    """Return shuffled orders of `count` places, one for each row."""
    generator = torch.Generator().manual_seed(_SEED)
    return [
        torch.rand(rows, count, generator=generator, device="cpu").argsort(1)
        for _ in range(_ORDERS)
    ]

"""The ranges of a weight's channels: the largest |w| of each, and how far they lie apart.

Which numbers of a weight belong to which channel depends on the layer: groups, transposed
convolutions, a flattening before a linear layer. It is found by a probe: every channel is scaled by
another factor, and the factor that a number was scaled by names its channel.
"""

import torch
from torch import Tensor

#: Neighbouring factors differ by this. float64 tells them apart for 2**20 channels, and all are so
#: close to 1 that no 16-bit weight overflows.
_STEP = 2.0**-30


def probe_factors(channels: int) -> Tensor:
    """Return the factors of a probe: float64 of shape (channels,), all different, none of them 1.

    Examples:
        >>> from bnconvert.numerics.channel_ranges import probe_factors
        >>> len(set(probe_factors(1000).tolist()))
        1000
    """
    steps = torch.arange(1, channels + 1, dtype=torch.float64, device="cpu")
    return 1 + steps * _STEP


def probed_ranges(weight: Tensor, scaled: Tensor, channels: int) -> Tensor:
    """Return the largest |w| of each channel, shape (channels,); 0 for one without numbers.

    Args:
        weight: in float64, of any shape.
        scaled: the same after its channels were multiplied by `probe_factors`.
        channels: how many there are.
    """
    weight, scaled = weight.flatten(), scaled.flatten()
    used = (weight != 0) & (scaled != weight)
    sizes = weight[used].abs()
    steps = (scaled[used] / weight[used] - 1) / _STEP
    channel = steps.round().long() - 1
    ranges = torch.zeros(channels, dtype=torch.float64, device=weight.device)
    return ranges.scatter_reduce(0, channel, sizes, "amax")


def balancing_factors(first: Tensor, second: Tensor) -> Tensor:
    """Return s so that first / s and second * s are equal: s = sqrt(first / second).

    It maximizes the precision of the channels of both layers (Nagel et al., "Data-Free Quantization
    Through Weight Equalization and Bias Correction", 2019, section 4.1, equation 11). A channel
    that one of the layers does not use has s = 1.

    Args:
        first: the ranges of the producer's output channels, shape (channels,).
        second: those of the consumers' input channels.
    """
    used = (first > 0) & (second > 0) & torch.isfinite(first) & torch.isfinite(second)
    ratio = torch.where(used, first, 1.0) / torch.where(used, second, 1.0)
    return ratio.sqrt()

"""Findings about values that are not finite, or would not be in 16 bits: BN211."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from bnconvert.diagnosis.norm_samples import NormSamples
from bnconvert.reporting.records import Finding

_LARGEST = torch.finfo(torch.float16).max


def range_findings(
    norms: Sequence[NormSamples], broken: Mapping[int, tuple[str, torch.dtype]]
) -> Iterator[Finding]:
    """Yield the findings about the range of the values that arrive at norms.

    Args:
        norms: the samples at each norm.
        broken: by the index of the batch, where a NaN or infinity arrived first, and its dtype.
    """
    if broken:
        paths = tuple(dict.fromkeys(path for path, _ in broken.values()))
        batch, (path, dtype) = next(iter(broken.items()))
        half = dtype in (torch.float16, torch.bfloat16)
        yield Finding(
            "BN211",
            "error",
            paths,
            f"a NaN or an infinity arrives at {path} ({str(dtype).removeprefix('torch.')}, batch "
            f"{batch}): one training step on it makes the running statistics NaN for good",
            "bfloat16 or float32 for this part"
            if half
            else "look for what overflows, and skip such batches in training",
        )
    large = [norm for norm in norms if norm.peak > _LARGEST and norm.dtype is torch.float32]
    if large:
        worst = max(large, key=lambda norm: norm.peak)
        yield Finding(
            "BN211",
            "info",
            tuple(norm.path for norm in large),
            f"values up to {worst.peak:.3g} arrive at {worst.path}, which float16 cannot hold (its "
            f"largest number is {_LARGEST:.0f})",
            "bfloat16 instead of float16 for autocast, or scale the input",
        )

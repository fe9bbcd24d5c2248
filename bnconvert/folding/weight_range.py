"""What folding does to the range of weights: the findings BN405 and BN406."""

from collections.abc import Iterator, Sequence

import torch

from bnconvert.modules.folded_norm import eval_scale
from bnconvert.modules.site import Site
from bnconvert.reporting.records import Finding, NormRow

#: The largest factor over the smallest that an 8-bit weight with one scale still tells apart.
WIDE = 1e3


def weight_range_findings(sites: Sequence[Site], rows: Sequence[NormRow]) -> Iterator[Finding]:
    """Yield the findings about what was folded, and about what would have overflowed.

    Args:
        sites: the model's norms, not folded.
        rows: what folding did with each call of them.
    """
    folded = {row.path for row in rows if row.outcome == "folded"}
    wide = tuple(s.path for s in sites if s.path in folded and gain_spread(s) > WIDE)
    if wide:
        yield Finding(
            "BN405",
            "warning",
            wide,
            f"folded factors differ by more than {WIDE:.0f} between channels: with one 8-bit "
            "scale for the whole weight the small channels become zero",
            "quantize per channel, or equalize the layers first: "
            "bnc.equalize(bnc.fold(model, inputs))",
        )
    overflowing = tuple(dict.fromkeys(row.path for row in rows if "weight-overflows" in row.codes))
    if overflowing:
        yield Finding(
            "BN406",
            "warning",
            overflowing,
            "the folded weight would overflow the model's 16-bit dtype: the norm stays",
            "fold and export model.float(), or bfloat16 for float16",
        )


def gain_spread(site: Site) -> float:
    """Return the largest |gamma| / sigma of a norm over the smallest that is not zero."""
    scale = eval_scale(site.module)
    if scale is None:
        return 1.0
    gain = scale.abs()
    gain = gain[torch.isfinite(gain) & (gain > 0)]
    return float(gain.max() / gain.min()) if gain.numel() else 1.0

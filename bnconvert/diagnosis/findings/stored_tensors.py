"""Findings about the statistics and parameters that norms have stored: BN1xx, BN002, BN015."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bnconvert.diagnosis.findings.rule import Rule, found_by
from bnconvert.modules.kinds import has_default_statistics, has_running_statistics
from bnconvert.modules.site import Site, Survey
from bnconvert.reporting.records import Finding

_HALF = (torch.float16, torch.bfloat16)
RULES = (
    Rule(
        "BN002",
        "error",
        lambda site: (
            getattr(site.module, "track_running_stats", True) is False
            and has_running_statistics(site.module)
            and not site.kind.has_fixed_statistics
        ),
        "track_running_stats is off but running statistics exist: training normalizes by "
        "the batch and eval by the old statistics",
        "convert with Frozen(), and set track_running_stats=True again",
    ),
    Rule(
        "BN015",
        "warning",
        lambda site: any(tensor.dtype in _HALF for tensor in _stored(site)),
        "statistics in 16 bits: a variance under 6e-8 becomes 0, one over 65504 infinity",
        "keep the norms in float32",
    ),
    Rule(
        "BN101",
        "error",
        lambda site: not _is_sound(site),
        "NaN, infinity or a negative variance is stored: eval gives NaN",
        "find the batch that overflowed, and recompute the statistics",
    ),
    Rule(
        "BN102",
        "error",
        lambda site: has_default_statistics(site.module) and _has_trained_affine(site),
        "the affine parameters are trained but the statistics are not (mean 0, variance 1)",
        "load all of the checkpoint, or recompute the statistics",
    ),
)


def stored_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about stored statistics and parameters."""
    yield from found_by(RULES, [site for site in survey.sites if _is_readable(site)])


def _stored(site: Site) -> list[Tensor]:
    tensors = (*site.module._parameters.values(), *site.module._buffers.values())
    return [tensor for tensor in tensors if tensor is not None]


def _is_readable(site: Site) -> bool:
    """Tell whether there are numbers: not in a lazy norm, and not on the meta device."""
    lazy = (torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer)
    return not any(isinstance(tensor, lazy) or tensor.is_meta for tensor in _stored(site))


def _is_sound(site: Site) -> bool:
    var = site.module._buffers.get("running_var")
    finite = all(
        bool(torch.isfinite(t.detach()).all()) for t in _stored(site) if t.is_floating_point()
    )
    return finite and (var is None or bool((var >= 0).all()))


def _has_trained_affine(site: Site) -> bool:
    """Tell whether weight or bias differ from an initialization, as which weight 0 counts too."""
    tensors = {**site.module._buffers, **site.module._parameters}
    weight, bias = tensors.get("weight"), tensors.get("bias")
    moved = weight is not None and bool((weight != 1).any()) and bool(weight.any())
    return moved or (bias is not None and bool(bias.any()))

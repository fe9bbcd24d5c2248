"""Findings about the statistics and parameters that norms have stored: BN1xx, BN002, BN015."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bnconvert.kinds import has_default_statistics
from bnconvert.reporting.records import Finding, Severity
from bnconvert.site import Site, Survey

_HALF = (torch.float16, torch.bfloat16)
_Rule = tuple[str, Severity, Callable[[Site], bool], str, str]


def stored_findings(survey: Survey) -> Iterator[Finding]:
    """Yield what the stored tensors tell."""
    rules: tuple[_Rule, ...] = (
        (
            "BN002",
            "error",
            lambda s: getattr(s.module, "track_running_stats", True) is False and _has_stats(s),
            "track_running_stats is off but running statistics exist: training normalizes by "
            "the batch and eval by the old statistics",
            "convert with Frozen(), and set track_running_stats back",
        ),
        (
            "BN015",
            "warning",
            lambda s: any(t.dtype in _HALF for t in _stored(s) if t.is_floating_point()),
            "statistics in 16 bits: a variance under 6e-8 becomes 0, one over 65504 infinity",
            "keep the norms in float32",
        ),
        (
            "BN101",
            "error",
            lambda s: not _is_sound(s),
            "NaN, infinity or a negative variance is stored: eval gives NaN",
            "find the batch that overflowed and recompute the statistics",
        ),
        (
            "BN102",
            "error",
            lambda s: has_default_statistics(s.module) and _has_trained_affine(s),
            "the affine parameters are trained but the statistics are not (mean 0, variance 1)",
            "load all of the checkpoint, or recompute the statistics",
        ),
    )
    for name, severity, applies, message, fix in rules:
        sites = [site for site in survey.sites if _is_readable(site) and applies(site)]
        if sites:
            yield Finding(name, severity, tuple(site.path for site in sites), message, fix)


def _stored(site: Site) -> list[Tensor]:
    tensors = (*site.module._parameters.values(), *site.module._buffers.values())
    return [tensor for tensor in tensors if tensor is not None]


def _is_readable(site: Site) -> bool:
    """Tell whether there are numbers: not in a lazy norm, and not on the meta device."""
    lazy = (torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer)
    return not any(isinstance(t, lazy) or t.is_meta for t in _stored(site))


def _has_stats(site: Site) -> bool:
    return site.module._buffers.get("running_mean") is not None


def _is_sound(site: Site) -> bool:
    var = site.module._buffers.get("running_var")
    finite = all(bool(torch.isfinite(t).all()) for t in _stored(site) if t.is_floating_point())
    return finite and (var is None or bool((var >= 0).all()))


def _has_trained_affine(site: Site) -> bool:
    """Tell whether gamma or beta moved; all zero gamma is an initialization."""
    parameters = {**site.module._buffers, **site.module._parameters}
    weight, bias = parameters.get("weight"), parameters.get("bias")
    moved = weight is not None and bool((weight != 1).any()) and bool(weight.any())
    return moved or (bias is not None and bool(bias.any()))

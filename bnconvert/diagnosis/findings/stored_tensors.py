"""Findings about the statistics and parameters that norms have stored: BN015, BN101 to BN114."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bnconvert.diagnosis.findings.code_lines import RECOMPUTE, for_each
from bnconvert.diagnosis.findings.rule import Rule, found_by
from bnconvert.diagnosis.findings.training_mode import uses_statistics
from bnconvert.modules.kinds import has_default_statistics
from bnconvert.modules.site import Site, Survey
from bnconvert.reporting.records import Finding

_HALF = (torch.float16, torch.bfloat16)
RULES = (
    Rule(
        "BN015",
        "warning",
        lambda site: any(tensor.dtype in _HALF for tensor in _stored(site)),
        "statistics in 16 bits: a variance under 6e-8 becomes 0, one over 65504 infinity",
        "keep the norms in float32",
        for_each("m.float()"),
    ),
    Rule(
        "BN101",
        "error",
        lambda site: not _is_sound(site),
        "NaN, infinity or a negative variance is stored: eval gives NaN",
        "find the batch that overflowed, and recompute the statistics",
        lambda sites: RECOMPUTE if all(map(_has_sound_affine, sites)) else "",
    ),
    Rule(
        "BN102",
        "error",
        lambda site: _is_untrained(site) and _has_trained_affine(site),
        "the affine parameters are trained but the statistics are not (mean 0, variance 1)",
        "load all of the checkpoint, or recompute the statistics",
        RECOMPUTE,
    ),
    Rule(
        "BN114",
        "info",
        lambda site: _is_untrained(site) and not _has_trained_affine(site),
        "untrained: the statistics are still mean 0 and variance 1, so that eval mode does not "
        "normalize",
        "load a checkpoint, train, or recompute the statistics",
        RECOMPUTE,
    ),
)


def stored_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about stored statistics and parameters."""
    yield from found_by(RULES, [site for site in survey.sites if is_readable(site)])


def _stored(site: Site) -> list[Tensor]:
    tensors = (*site.module._parameters.values(), *site.module._buffers.values())
    return [tensor for tensor in tensors if tensor is not None]


def is_readable(site: Site) -> bool:
    """Tell whether there are numbers: not in a lazy norm, and not on the meta device."""
    lazy = (torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer)
    return not any(isinstance(tensor, lazy) or tensor.is_meta for tensor in _stored(site))


def _is_sound(site: Site) -> bool:
    var = site.module._buffers.get("running_var")
    return all(map(_is_finite, _stored(site))) and (var is None or bool((var >= 0).all()))


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor.detach()).all())


def _has_sound_affine(site: Site) -> bool:
    """Tell whether weight and bias are finite: only statistics can be measured anew."""
    tensors = {**site.module._buffers, **site.module._parameters}
    affine = (tensors.get(name) for name in ("weight", "bias"))
    return all(tensor is None or _is_finite(tensor) for tensor in affine)


def _is_untrained(site: Site) -> bool:
    """Tell whether the statistics that the norm uses are those of a new one."""
    return uses_statistics(site) and has_default_statistics(site.module)


def _has_trained_affine(site: Site) -> bool:
    """Tell whether weight or bias differ from an initialization, as which weight 0 counts too."""
    tensors = {**site.module._buffers, **site.module._parameters}
    weight, bias = tensors.get("weight"), tensors.get("bias")
    moved = weight is not None and bool((weight != 1).any()) and bool(weight.any())
    return moved or (bias is not None and bool(bias.any()))

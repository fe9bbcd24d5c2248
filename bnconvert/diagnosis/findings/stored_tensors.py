"""Findings about the statistics and parameters that norms have stored: BN015, BN101 to BN114."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bnconvert.diagnosis.findings.code_lines import RECOMPUTE, for_each
from bnconvert.diagnosis.findings.rule import Rule, found_by
from bnconvert.diagnosis.findings.training_mode import uses_statistics
from bnconvert.modules.kinds import has_default_statistics, has_running_statistics
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
)


def stored_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about stored statistics and parameters."""
    readable = [site for site in survey.sites if is_readable(site)]
    yield from found_by((*RULES, *_untrained_rules(readable)), readable)


def _untrained_rules(sites: Sequence[Site]) -> Sequence[Rule]:
    """Return the rules about statistics that are those of a new norm.

    Some networks draw weights, and a few biases, at random when they are made, so that a trained
    affine is certain only beside other signs of a training.
    """
    others = any(uses_statistics(s) and _has_trained_statistics(s) for s in sites)

    def is_lost(site: Site) -> bool:
        trained = others and _has_trained_bias(site)
        return _is_untrained(site) and (trained or _has_counted(site))

    def may_be_lost(site: Site) -> bool:
        return _is_untrained(site) and not is_lost(site) and _has_trained_bias(site)

    remedy = "load all of the checkpoint, or recompute the statistics"
    return (
        Rule(
            "BN102",
            "error",
            is_lost,
            "the norm is trained but its statistics are not (mean 0, variance 1)",
            remedy,
            RECOMPUTE,
        ),
        Rule(
            "BN102",
            "warning",
            may_be_lost,
            "no norm of the model has trained statistics (mean 0, variance 1), but these have a "
            "bias: it is new and was initialized so, or its statistics were not loaded",
            remedy,
            RECOMPUTE,
        ),
        Rule(
            "BN114",
            "info",
            lambda site: _is_untrained(site) and not is_lost(site) and not may_be_lost(site),
            "untrained: the statistics are still mean 0 and variance 1, so that eval mode does not "
            "normalize",
            "load a checkpoint, train, or recompute the statistics",
            RECOMPUTE,
        ),
    )


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


def _has_trained_statistics(site: Site) -> bool:
    return has_running_statistics(site.module) and not has_default_statistics(site.module)


def _has_trained_bias(site: Site) -> bool:
    """Tell whether the bias is not 0 everywhere, as nearly all are initialized."""
    bias = {**site.module._buffers, **site.module._parameters}.get("bias")
    return bias is not None and bool(bias.detach().any())


def _has_counted(site: Site) -> bool:
    """Tell whether the norm has counted training batches."""
    counter = site.module._buffers.get("num_batches_tracked")
    return counter is not None and bool(counter)

"""Random statistics for norms with untrained ones, so that folding bugs show."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from bnconvert.modules.copies.parameter_copies import copy_viewing_parameters
from bnconvert.modules.kinds import norms_in
from bnconvert.modules.tracking import is_untrained
from bnconvert.reporting.report import Report

#: Ranges far enough from the defaults that a fold which drops or doubles one is seen.
_RANGES = {
    "running_mean": (-0.5, 0.5),
    "running_var": (0.5, 2.0),
    "weight": (0.5, 1.5),
    "bias": (-0.5, 0.5),
}
_UNTRAINED = (
    "the model's statistics are untrained (mean 0, variance 1), which hides folding bugs: "
    "a copy with random statistics was exported and compared as well"
)


def untrained_norms(model: nn.Module) -> list[nn.Module]:
    """Return the norms of `model` that use running statistics which never saw data."""
    return [module for _, module, _ in norms_in(model) if is_untrained(module)]


def jittered(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Return a copy whose untrained norms have random statistics, weight and bias.

    With mean 0, variance 1, gamma 1 and beta 0 nearly every folding bug computes the right
    numbers. All other weights are the model's own, and not to be written to.
    """
    copied = copy_viewing_parameters(
        model, but=(p for norm in untrained_norms(model) for p in norm.parameters())
    )
    for module in untrained_norms(copied):
        state: dict[str, Tensor | None] = {**module._buffers, **module._parameters}
        with torch.no_grad():
            for name, (low, high) in _RANGES.items():
                tensor = state.get(name)
                if tensor is not None:
                    noise = torch.rand(
                        tensor.shape, generator=generator, dtype=torch.float64, device="cpu"
                    )
                    tensor.copy_(low + (high - low) * noise)
    return copied


def with_random_statistics(proof: Report, second: Report) -> Report:
    """Return the proof of a model and that of its jittered copy as one."""
    renamed = (replace(c, case=f"other statistics, {c.case}") for c in second.checks)
    return replace(
        proof,
        title=second.title if second.verdict != "agrees" else proof.title,
        verdict=second.verdict,
        checks=(*proof.checks, *renamed),
        findings=(*proof.findings, *(f for f in second.findings if f not in proof.findings)),
        notes=(*proof.notes, _UNTRAINED),
    )

"""Findings about how many batches norms counted in a step of the optimizer: BN302."""

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch.optim import Optimizer

from bnconvert.diagnosis.findings.counters import batches_tracked
from bnconvert.diagnosis.findings.stored_tensors import is_readable
from bnconvert.diagnosis.findings.training_mode import momentum_of
from bnconvert.modules.site import Site, Survey
from bnconvert.reporting.records import Finding

#: Of fewer steps a number of batches is a multiple too easily.
ENOUGH_STEPS = 50
#: Torch's default: an average over fewer batches than it means is worth telling.
_USUAL_MOMENTUM = 0.1


def step_findings(survey: Survey, optimizer: Optimizer) -> Iterator[Finding]:
    """Yield the finding about norms that count a multiple of the optimizer's steps.

    Where the momentum is small enough for that, as `accumulated_momentum` makes it, nothing is
    said.

    Args:
        survey: of the model.
        optimizer: of its training; one that counts its steps, as Adam does and SGD does not.
    """
    steps = steps_of(optimizer)
    if steps < ENOUGH_STEPS:
        return
    found: defaultdict[int, list[Site]] = defaultdict(list)
    for site in survey.sites:
        times = _times(site, steps)
        momentum = momentum_of(site)
        if times > 1 and momentum and effective(momentum, times) > _USUAL_MOMENTUM + 1e-6:
            found[times].append(site)
    for times, sites in sorted(found.items()):
        momentum = max(momentum_of(site) or 0.0 for site in sites)
        yield Finding(
            "BN302",
            "info",
            tuple(site.path for site in sites),
            f"counted exactly {times} times as many batches as the optimizer made steps ({steps}): "
            f"where that was in this training, gradients are accumulated, or the model runs "
            f"{times} times in a step, and a momentum of {momentum:g} acts as "
            f"{effective(momentum, times):.2f}",
            f"bnc.accumulated_momentum(momentum, {times}) for accumulation; for further forwards "
            "bnc.update_statistics(model, False) around them, or bnc.Separate; nothing, where the "
            "other batches are of an earlier training",
        )


def steps_of(optimizer: Optimizer) -> int:
    """Return how many steps an optimizer counted, for the parameter with the most; 0 for none."""
    counts = (state.get("step") for state in optimizer.state.values() if isinstance(state, dict))
    return max((int(n) for n in counts if isinstance(n, int | float | torch.Tensor)), default=0)


def effective(momentum: float, times: int) -> float:
    """Return the momentum as which one acts that is applied several times: 1 - (1 - m)^k."""
    return float(1 - (1 - momentum) ** times)


def _times(site: Site, steps: int) -> int:
    """Return how often a norm is updated in a step by its counter; 0 where that is no multiple."""
    counted = batches_tracked(site) if is_readable(site) else None
    calls = max(1, len(site.calls))
    return counted // (steps * calls) if counted and counted % (steps * calls) == 0 else 0

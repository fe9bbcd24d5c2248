"""Findings about which parameters an optimizer holds, and decays: BN301, BN314, BN315."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.optim import Optimizer

from bnconvert.conversion.parameter_groups import norm_parameters
from bnconvert.reporting.records import Finding


def optimizer_findings(model: nn.Module, optimizer: Optimizer) -> Iterator[Finding]:
    """Yield the findings about the parameter groups of a model's optimizer."""
    held = {
        id(parameter): group for group in optimizer.param_groups for parameter in group["params"]
    }
    yield from _decayed(model, held)
    yield from _frozen(model, held)
    yield from _left_out(model, held)


#: By identity of a parameter: the group that holds it.
_Held = dict[int, dict[str, Any]]


def _decayed(model: nn.Module, held: _Held) -> Iterator[Finding]:
    """Yield the finding about norms that weight decay pulls to zero."""
    decays: dict[str, float] = {}
    for path, parameter in norm_parameters(model):
        decay = float(held.get(id(parameter), {}).get("weight_decay") or 0.0)
        if decay > 0 and parameter.requires_grad:
            decays[path] = max(decay, decays.get(path, 0.0))
    if decays:
        yield Finding(
            "BN301",
            "warning",
            tuple(decays),
            f"weight decay of {max(decays.values()):g} on the weights and biases of "
            f"{len(decays)} norms, which it pulls to 0",
            "give them a parameter group without weight decay, as bnc.prepare does",
            "bnc.exempt_norms(model, optimizer)",
        )


def _frozen(model: nn.Module, held: _Held) -> Iterator[Finding]:
    """Yield the findings about frozen parameters that the optimizer holds."""
    frozen = {
        name: parameter
        for name, parameter in model.named_parameters()
        if not parameter.requires_grad and id(parameter) in held
    }
    moved = [name for name, parameter in frozen.items() if parameter.grad is not None]
    line = (
        "[g.update(params=[p for p in g['params'] if p.requires_grad]) "
        "for g in optimizer.param_groups]"
    )
    if moved:
        yield Finding(
            "BN314",
            "warning",
            tuple(moved),
            f"{len(moved)} frozen parameters still have a gradient: the optimizer goes on moving "
            "them, by weight decay and momentum too",
            "take them out of the groups, or set their .grad to None",
            line,
        )
    elif frozen:
        yield Finding(
            "BN314",
            "info",
            tuple(frozen),
            f"the optimizer holds {len(frozen)} parameters that are frozen",
            "nothing, if they are to be unfrozen; otherwise take them out of the groups",
            line,
        )


def _left_out(model: nn.Module, held: _Held) -> Iterator[Finding]:
    """Yield the finding about trainable parameters that the optimizer does not hold."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    missing = tuple(name for name, parameter in trainable.items() if id(parameter) not in held)
    if missing and not any(id(parameter) in held for parameter in model.parameters()):
        yield Finding(
            "BN315",
            "error",
            missing,
            "the optimizer holds none of the model's parameters: it trains another model, such as "
            "the one that this is a converted copy of",
            "make the optimizer after the conversion, from this model's parameters",
        )
    elif missing:
        yield Finding(
            "BN315",
            "info",
            missing,
            f"{len(missing)} of {len(trainable)} trainable parameters are in no group of the "
            "optimizer: they get gradients and never move",
            "freeze them with requires_grad_(False) and their norms with Frozen(), or train them",
            "optimizer.add_param_group({'params': [p for p in model.parameters() if "
            "p.requires_grad and not any(p is q for g in optimizer.param_groups "
            "for q in g['params'])]})",
        )

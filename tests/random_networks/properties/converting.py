"""A policy does what its plan says, leaves the eval function alone and can be reverted."""

from random import Random

import torch
from torch import nn

import bnconvert as bnc
from bnconvert.modules.normalization import EXTRAS
from bnconvert.modules.rewrite import Alternatives, Rewrite
from tests.random_networks.closeness import outputs, require_exact
from tests.random_networks.interfaces import Drawn
from tests.random_networks.snapshot import Snapshot
from tests.random_networks.verdicts import WrongError

Choice = bnc.Policy | Rewrite | Alternatives


def converts(drawn: Drawn) -> None:
    """Convert by a policy, by another with one for each norm, and by one after the other."""
    refusal: bnc.RefusedError | None = None
    draw = Random(drawn.seed)
    first, second = draw.sample(_rewrites(drawn), 2)
    for policies in ((first,), (_rules(drawn, draw),), (first | bnc.Keep(), second | bnc.Keep())):
        try:
            _converts(drawn, policies, inplace=draw.random() < 0.5)
        except bnc.RefusedError as failure:
            refusal = failure
    if refusal is not None:
        raise refusal


def _rewrites(drawn: Drawn) -> list[Rewrite]:
    """Return rewrites that promise to leave the eval function alone."""
    every: list[Rewrite] = [
        bnc.Frozen(),
        bnc.Frozen(affine="trainable"),
        bnc.Sync(),
        bnc.Ghost(1),
        bnc.Renorm(),
        bnc.Separate(),
        bnc.Separate(affine="separate", each=bnc.Ghost(1)),
        bnc.Separate(each=bnc.Renorm()),
        bnc.Separate(domains="calls"),
    ]
    if drawn.traits.inputs in ("one", "two"):  # others are no batch for it
        every.append(bnc.Virtual(drawn.example().args, per_sample=drawn.seed % 4 == 0))
    return every


def _rules(drawn: Drawn, draw: Random) -> Choice:
    """Draw a rewrite for each layer that holds a norm, where it is legal."""
    survey = bnc.plan(drawn.model(), bnc.Keep()).decisions
    names = [decision.site.path for decision in survey]
    rules = {name: draw.choice(_rewrites(drawn)) | bnc.Keep() for name in names}
    return bnc.Policy(rules) if rules else bnc.Keep()


def _converts(drawn: Drawn, policies: tuple[Choice, ...], inplace: bool) -> None:
    model: nn.Module = drawn.model()
    before, converted, name = Snapshot.of(model), model, ""
    for policy in policies:
        name = f"{name}, {policy!r}"[-300:]
        given = drawn.model() if inplace and converted is model else converted
        converted = _converted(given, policy, name, inplace)
    before.require(model, f"convert {name}")
    reverted = bnc.revert(converted)
    require_reverted(drawn, reverted, name)
    if not any(m.training for m in drawn.truth().modules()):
        require_exact(converted.eval(), drawn.truth, drawn.example(), f"convert {name}")


def _converted(model: nn.Module, policy: Choice, name: str, inplace: bool) -> nn.Module:
    """Plan and convert, and compare both."""
    before = Snapshot.of(model)
    planned = bnc.plan(model, policy)
    before.require(model, f"plan {name}")
    classes, edits = _classes(model), set(planned.edits())
    parameters = dict(model.named_parameters())
    try:
        converted = bnc.convert(model, policy, inplace=inplace)
    except bnc.RefusedError as failure:
        before.require(model, f"convert {name}")
        if failure.refusals != planned.refusals:
            raise WrongError(f"{name}: plan refuses other norms than convert") from failure
        raise
    if planned.refusals:
        raise WrongError(f"{name}: the plan refuses what convert does")
    if not inplace:
        before.require(model, f"convert {name}")
    elif any(dict(converted.named_parameters()).get(n) is not p for n, p in parameters.items()):
        raise WrongError(f"{name}: another parameter in place")
    now = _classes(converted)
    # a norm that is one of ours already may be built anew in its own class
    replaced = {path for path, kind in classes.items() if now.get(path) is not kind}
    replaced = {path for path in replaced if EXTRAS not in path.split(".")}
    if not replaced <= edits or any(now[path] is nn.BatchNorm2d for path in edits):
        raise WrongError(f"{name}: convert replaced {replaced}, the plan {edits}")
    return converted


def _classes(model: nn.Module) -> dict[str, type[nn.Module]]:
    # a parametrized layer has a class of its own
    modules = model.named_modules(remove_duplicate=False)
    return {p: type(m) for p, m in modules if not hasattr(m, "parametrizations")}


def require_reverted(drawn: Drawn, reverted: nn.Module, name: str) -> None:
    """Raise unless classes, state and outputs are those of a new model, bit by bit.

    Raises:
        WrongError: it says which are not.
    """
    model, example = drawn.model(), drawn.example()
    was, now = model.state_dict(), reverted.state_dict()
    if list(was) != list(now) or not all(torch.equal(was[key], now[key]) for key in was):
        raise WrongError(f"revert {name}: another state")
    modes = [[m.training for m in part.modules()] for part in (model, reverted)]
    if modes[0] != modes[1] or _classes(model) != _classes(reverted):
        raise WrongError(f"revert {name}: other classes or modes")
    trainable = [[p.requires_grad for p in part.parameters()] for part in (model, reverted)]
    if trainable[0] != trainable[1]:
        raise WrongError(f"revert {name}: other parameters are trained")
    if drawn.traits.training:
        reverted.eval()
    pairs = zip(outputs(drawn.truth(), example), outputs(reverted, example), strict=True)
    if not all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in pairs):
        raise WrongError(f"revert {name}: other outputs")

"""Findings about how norms are configured and called: BN0xx."""

from collections.abc import Collection, Iterator, Sequence

from torch import nn

from bnconvert.diagnosis.findings.rule import Rule, found_by
from bnconvert.modules.copying import copy_sharing_parameters
from bnconvert.modules.kinds import has_running_statistics
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.running_statistics import held_statistics
from bnconvert.modules.site import Site, Survey
from bnconvert.reporting.records import Finding
from bnconvert.torch_private.norm_classes import is_instance_norm

_SUSPICIOUS = 0.5
RULES = (
    Rule(
        "BN004",
        "info",
        lambda site: not has_running_statistics(site.module),
        "no running statistics: the output of a sample depends on the rest of its batch",
        "set track_running_stats=True and train or recompute them",
    ),
    Rule(
        "BN005",
        "warning",
        lambda site: _momentum(site) >= _SUSPICIOUS,
        "momentum of 0.5 or more: the last batch dominates the running statistics; it looks like "
        "the convention of Keras, where 0.9 is torch's 0.1",
        "[setattr(m, 'momentum', min(1 - m.momentum, 0.1) or 0.1) for m in model.modules() "
        "if (getattr(m, 'momentum', None) or 0) >= 0.5]",
    ),
    Rule(
        "BN021",
        "warning",
        lambda site: isinstance(site.module, Normalization) and bool(site.module.asked_to_train),
        "frozen, though weight or bias require gradients: none reaches them through the norm",
        'convert with Frozen(affine="trainable") to train them, or with Frozen() to freeze them '
        "for good",
    ),
    Rule(
        "BN009",
        "warning",
        lambda site: len(site.calls) > 1,
        "called several times in one forward, with one set of statistics for all calls",
        "use a norm of its own for each call",
    ),
)


def configuration_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about the modules' settings and calls."""
    yield from found_by(_frozen_by_eval(survey.model), survey.sites)
    yield from found_by(RULES, survey.sites)
    for site in survey.sites:
        if refusal := site.kind.unsupported:
            yield Finding("BN012", "error", (site.path,), refusal.text, refusal.remedy)
    facts: dict[tuple[str, str], list[str]] = {}
    for call in survey.functional:
        if not call.on_weight:
            facts.setdefault((call.fact, call.remedy), []).append(call.owner)
    for (fact, remedy), owners in facts.items():
        yield Finding("BN019", "info", tuple(owners), fact, remedy)
    for site in survey.sites:
        if site.used_by:
            users = ", ".join(path or "(root)" for path in site.used_by)
            message = f"{users} uses its statistics without calling it"
            yield Finding("BN019", "info", (site.path,), message, "call the norm itself there")
    for site in survey.idle:
        if refusal := site.kind.unsupported:
            yield Finding("BN012", "warning", (site.path,), refusal.text, refusal.remedy)
    per_sample = tuple(
        path or "(root)"
        for path, module in survey.model.named_modules()
        if is_instance_norm(module) and held_statistics(module) is not None
    )
    if per_sample:
        message = "an instance norm that normalizes by running statistics in eval mode"
        fix = "nothing to do, but know that it is neither converted nor measured"
        yield Finding("BN019", "info", per_sample, message, fix)
    for path, reason in survey.untraceable.items():
        if survey.sites and survey.sites[0].path:  # a root that is a norm hides nothing
            message = f"could not be traced, so that calls inside are not counted ({reason})"
            yield Finding("BN020", "info", (path,), message, "give example inputs to see them")
    if survey.scripted:
        message = "TorchScript: norms inside are not found and not converted"
        yield Finding("BN020", "warning", survey.scripted, message, "use the eager module instead")


def _momentum(site: Site) -> float:
    if site.kind.has_fixed_statistics:
        return 0.0
    return float(getattr(site.module, "momentum", None) or 0.0)


def _frozen_by_eval(model: nn.Module) -> Sequence[Rule]:
    """Return the rules about norms in eval mode inside a model in training mode."""
    kept = _paths_kept_in_eval(model) if model.training else ()

    def is_frozen(site: Site) -> bool:
        return model.training and not site.module.training and not site.kind.has_fixed_statistics

    return (
        Rule(
            "BN003",
            "warning",
            lambda site: is_frozen(site) and site.path not in kept,
            "in eval mode inside a model in training mode, which the next model.train() undoes",
            "convert with Frozen() to freeze them for good",
        ),
        Rule(
            "BN003",
            "info",
            lambda site: is_frozen(site) and site.path in kept,
            "in eval mode inside a model in training mode, and its own train() keeps it so",
            "nothing is to be done; with Frozen() it would not depend on train()",
        ),
    )


def _paths_kept_in_eval(model: nn.Module) -> Collection[str]:
    """Return which modules a `train()` of the model's own leaves in eval; tried on a copy."""
    own = (
        "train" in vars(module) or type(module).train is not nn.Module.train
        for module in model.modules()
    )
    if not any(own):
        return ()
    try:
        copy = copy_sharing_parameters(model)
        copy.train()
    except Exception:
        return ()  # what it does is not known
    return {path for path, module in copy.named_modules() if not module.training}

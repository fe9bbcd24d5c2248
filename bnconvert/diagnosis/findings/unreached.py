"""Findings about what no rewrite reaches, or nobody can look into: BN012, BN019, BN020."""

from collections.abc import Iterator

from bnconvert.modules.running_statistics import held_statistics
from bnconvert.modules.site import Survey
from bnconvert.reporting.records import Finding
from bnconvert.torch_private.norm_classes import is_instance_norm


def unreached_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about norms that cannot be replaced, measured or seen."""
    for site in survey.sites:
        if refusal := site.kind.unsupported:
            yield Finding("BN012", "error", (site.path,), refusal.text, refusal.remedy)
    for site in survey.idle:
        if refusal := site.kind.unsupported:
            yield Finding("BN012", "warning", (site.path,), refusal.text, refusal.remedy)
    yield from _no_modules(survey)
    for path, reason in survey.untraceable.items():
        if survey.sites and survey.sites[0].path:  # a root that is a norm hides nothing
            message = f"could not be traced, so that calls inside are not counted ({reason})"
            fix = "inspect the model with example inputs to see them"
            yield Finding("BN020", "info", (path,), message, fix)
    if survey.scripted:
        message = "TorchScript: norms inside are not found and not converted"
        yield Finding("BN020", "warning", survey.scripted, message, "use the eager module instead")


def _no_modules(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about normalization that is not a call of a norm module."""
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
    per_sample = tuple(
        path or "(root)"
        for path, module in survey.model.named_modules()
        if is_instance_norm(module) and held_statistics(module) is not None
    )
    if per_sample:
        message = "an instance norm that normalizes by running statistics in eval mode"
        fix = "nothing to do, but know that it is neither converted nor measured"
        yield Finding("BN019", "info", per_sample, message, fix)

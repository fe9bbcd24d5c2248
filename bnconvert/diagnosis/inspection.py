"""`inspect`: list a model's norms and find what is wrong with them, without data."""

from dataclasses import replace

from torch import nn

from bnconvert.diagnosis.findings import FINDINGS
from bnconvert.errors import CaptureError
from bnconvert.graphs.example import Inputs
from bnconvert.modules.ambient_modes import usual_modes
from bnconvert.modules.kinds import has_default_statistics, has_running_statistics
from bnconvert.modules.site import Site
from bnconvert.modules.survey import survey
from bnconvert.reporting.records import NormRow
from bnconvert.reporting.report import Report
from bnconvert.torch_private.one_at_a_time import one_at_a_time


@one_at_a_time()
@usual_modes()
def inspect(model: nn.Module, example_inputs: Inputs | None = None) -> Report:
    """List the model's norms and findings; the model is neither run nor changed.

    Args:
        model: an eager module, in any mode.
        example_inputs: if given, a copy of the eval model is also captured and folded, so that
            calls are counted where torch.fx cannot trace, each row says whether it folds, and
            the findings of `fold` are listed too.

    Raises:
        UnsupportedModelError: the model is wrapped, compiled or scripted.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, momentum=0.9))
        >>> [(finding.id, finding.paths) for finding in bnc.inspect(net).findings]
        [('BN005', ('1',))]
    """
    surveyed = survey(model)
    rows = tuple(_row(site) for site in surveyed.sites)
    findings = tuple(finding for family in FINDINGS for finding in family(surveyed))
    seen = rows or any(not call.on_weight for call in surveyed.functional) or surveyed.idle
    title = f"{type(model).__name__}: " + ("batch normalization" if seen else "no batch norm")
    report = Report(title, norms=rows, findings=findings)
    if not findings:
        report = replace(report, notes=("no findings",))
    if example_inputs is None:
        return report
    from bnconvert.folding.folding import (
        fold,  # torch.export and all folds: slow, and not needed above
    )

    try:
        folded = fold(model, example_inputs).report
    except CaptureError as failure:
        return replace(report, notes=(*report.notes, str(failure)))
    found = (*findings, *folded.findings)
    notes = folded.notes if found else (*report.notes, *folded.notes)
    return replace(report, norms=folded.norms, findings=found, notes=notes)


def _row(site: Site) -> NormRow:
    """Return the report's row of a norm."""
    return NormRow(
        site.path,
        site.class_name,
        site.channels,
        site.observed_calls,
        "training" if site.module.training else "eval",
        _settings(site),
        site.aliases,
    )


def _settings(site: Site) -> str:
    """Describe a norm's settings in a few words: eps, momentum, what is special about it."""
    module = site.module
    settings = [f"eps={getattr(module, 'eps', '?')}"]
    momentum = getattr(module, "momentum", None)
    if hasattr(module, "momentum"):
        settings.append(f"momentum={momentum if momentum is None else format(momentum, 'g')}")
    if not has_running_statistics(module):
        settings.append("no running statistics")
    elif has_default_statistics(module):
        settings.append("untrained statistics")
    if site.kind.has_fixed_statistics:
        settings.append("frozen")
    if site.kind.children_after:
        settings.append(f"then {', '.join(_classes_after(site))}")
    return ", ".join(settings)


def _classes_after(site: Site) -> list[str]:
    names = (type(site.module.get_submodule(name)).__name__ for name in site.kind.children_after)
    return [name for name in names if name != "Identity"] or ["nothing"]

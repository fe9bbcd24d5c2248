"""What a fold reports, or would: a row for each call of a norm, and the findings."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from torch import nn

from bnconvert.folding.folded_part import PartOutcomes
from bnconvert.folding.outcome import NormOutcome
from bnconvert.folding.standing_norms import standing_findings
from bnconvert.folding.training_forms import training_form_findings
from bnconvert.folding.weight_range import weight_range_findings
from bnconvert.graphs.capture.parts import capture_parts
from bnconvert.graphs.capture.state import ForwardWatch
from bnconvert.graphs.example import Example
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.site import Site, sites_in
from bnconvert.modules.survey import require_runnable, scripted_paths
from bnconvert.reporting.records import Finding, NormRow
from bnconvert.reporting.report import Report
from bnconvert.torch_private.norm_classes import is_instance_norm


def report_of(model: nn.Module, parts: Sequence[PartOutcomes], notes: Sequence[str]) -> Report:
    """Return the report of a fold, without digests.

    Args:
        model: the model.
        parts: what was folded of it, or would be.
        notes: what to know of them, beside their own notes.
    """
    outcomes = [outcome for part in parts for outcome in part.outcomes]
    said = [note for part in parts for note in part.notes]
    scripted = [f"{path}: TorchScript: norms inside are not seen" for path in scripted_paths(model)]
    sites = sites_in(model)
    rows = tuple(outcome_rows(model, sites, outcomes))
    findings = tuple(fold_findings(model, sites, rows))
    title = f"Folded {type(model).__name__}"
    return Report(title, norms=rows, findings=findings, notes=(*notes, *said, *scripted))


def foreseen_report(
    model: nn.Module, example: Example, watch: ForwardWatch | None = None
) -> Report:
    """Return what `fold` would report, but for the digests, without folding.

    Args:
        model: an eager module, as for `fold`.
        example: as for `fold`.
        watch: as for `why_stateful`.

    Raises:
        CaptureError: as `fold`.
        UnsupportedModelError: as `fold`.
    """
    require_runnable(model)
    parts, notes = capture_parts(model, example, watch=watch)
    return report_of(model, [PartOutcomes.foreseen(part) for part in parts], notes)


def fold_findings(
    model: nn.Module, sites: Sequence[Site], rows: Sequence[NormRow]
) -> Iterator[Finding]:
    """Yield the findings about a fold: folded weights, norms that stand, what training had."""
    yield from weight_range_findings(sites, rows)
    yield from standing_findings(rows)
    yield from training_form_findings(model, sites)


def outcome_rows(
    model: nn.Module, sites: Sequence[Site], outcomes: Sequence[NormOutcome]
) -> Iterator[NormRow]:
    """Return a row per call of every norm module, then those of functional norms."""
    rest: dict[str, dict[int, NormOutcome]] = defaultdict(dict)  # by owner, with their order
    for place, found in enumerate(outcomes):
        rest[found.call.owner][place] = found
    for site in sites:
        called: dict[int, NormOutcome] = {}
        for path in site.paths:
            called |= rest.pop(path, {})
        mine = [called[place] for place in sorted(called)]
        for number, found in enumerate(mine, 1):
            said = found.reason
            if found.call.caller not in site.paths:
                said = f"called by {found.call.caller or 'the root'} through F.batch_norm: {said}"
            if len(mine) > 1:
                said = f"call {number} of {len(mine)}: {said}"
            yield _row(site, len(mine), found, said)
        if not mine:
            yield _uncalled(site)
    left = {place: found for by_place in rest.values() for place, found in by_place.items()}
    for found in (left[place] for place in sorted(left)):
        owner = found.call.owner
        if not is_instance_norm(model.get_submodule(owner)):
            yield NormRow(
                owner,
                "F.batch_norm",
                found.call.channels,
                1,
                found.outcome,
                found.reason,
                fold=found.fold,
                codes=_codes(found),
            )


def _row(site: Site, calls: int, found: NormOutcome, reason: str) -> NormRow:
    return NormRow(
        site.path,
        site.class_name,
        site.channels,
        calls,
        found.outcome,
        reason,
        site.aliases,
        found.fold,
        _codes(found),
        gains=site.gains,
    )


def _codes(found: NormOutcome) -> tuple[str, ...]:
    return tuple(dict.fromkeys(refusal.code for refusal in found.refusals))


def _uncalled(site: Site) -> NormRow:
    """Return the row of a norm that no graph calls."""
    outcome, reason = "uncalled", "the eval forward never calls it, or nothing reads its result"
    if isinstance(site.module, Normalization) and not site.module.is_batch_norm_in_eval:
        outcome = "standing"
        reason = f"{site.class_name} is no fixed affine map in eval mode"
    elif site.kind.is_other_class:
        outcome, reason = "standing", "its class normalizes by other operators than batch norm's"
    return NormRow(site.path, site.class_name, site.channels, 0, outcome, reason, site.aliases)

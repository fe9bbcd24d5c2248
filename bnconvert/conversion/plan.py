"""Plan: which rewrite each norm of a model gets by a policy, decided before anything changes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from bnconvert.conversion.policy import Policy
from bnconvert.errors import Refusal, RefusedError
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.replacement import Replacement
from bnconvert.modules.rewrite import Alternatives, Rewrite
from bnconvert.modules.site import FunctionalNorm, Site, Survey
from bnconvert.modules.survey import survey
from bnconvert.modules.tracing.hidden_references import HiddenReference, hidden_references
from bnconvert.reporting.cells import norm_cells
from bnconvert.reporting.records import REFUSED, NormRow
from bnconvert.reporting.report import Report
from bnconvert.reporting.shown import Shown
from bnconvert.reporting.table import footnoted, table


@dataclass(frozen=True, eq=False)
class Decision:
    """What a policy decides for one norm.

    Attributes:
        site: the norm.
        rewrite: the rewrite that it gets, or None where every alternative is refused.
        refusals: why each alternative that was tried is not taken; where there are several,
            the text names the alternative.
        caution: what the user must know about the rewrite that is taken.
    """

    site: Site
    rewrite: Rewrite | None
    refusals: tuple[Refusal, ...] = ()
    caution: str | None = None

    @property
    def outcome(self) -> str:
        """What the norm becomes, in a word."""
        if self.rewrite is None:
            return REFUSED
        return repr(self.rewrite) if self.rewrite.replaces else "kept"

    @property
    def remark(self) -> str:
        """Every reason and caution in one line."""
        return "; ".join((*map(str, self.refusals), *([self.caution] if self.caution else [])))


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Shown):
    """What a policy does to a model: one decision per norm, printable; nothing is changed yet.

    Examples:
        >>> planned = bnc.plan(nn.BatchNorm2d(6), bnc.Frozen())
        >>> planned
        <Plan OK: Plan for BatchNorm2d: Frozen(affine='frozen') (1 norm: ...)>
        >>> [decision.outcome for decision in planned], planned.report.norms[0].channels
        (["Frozen(affine='frozen')"], 6)
        >>> print(bnc.plan(nn.BatchNorm2d(6), bnc.Group(4)).refusals[0])
        (root): 6 channels do not divide into 4 groups; use Group(3) or Keep()
    """

    policy: Policy
    survey: Survey
    decisions: tuple[Decision, ...]

    def __iter__(self) -> Iterator[Decision]:
        """Iterate over the decisions, one for each norm."""
        return iter(self.decisions)

    @property
    def refusals(self) -> tuple[str, ...]:
        """One "path: fact; remedy" sentence per refused norm, those in forwards included."""
        refused = (d for d in self.decisions if d.rewrite is None)
        return tuple(
            f"{d.site.path or '(root)'}: {' | '.join(map(str, d.refusals))}" for d in refused
        ) + tuple(
            f"{call.owner or '(root)'}: {call.fact}; {call.remedy}, or use Keep() for that path"
            for call in functional_norms(self.survey)
            if self.policy.choices_for(call.owner)[0].replaces
        )

    def require_legal(self) -> None:
        """Raise unless every norm has a legal rewrite.

        Raises:
            RefusedError: lists every refused norm.
        """
        if self.refusals:
            raise RefusedError(self.refusals)

    def edits(self) -> dict[str, nn.Module]:
        """Build the modules that replace the norms, by path, aliases included."""
        built: dict[str, nn.Module] = {}
        for decision in self.decisions:
            if decision.rewrite is not None:
                built |= decision.rewrite.edits(decision.site)
        return built

    @property
    def report(self) -> Report:
        """The plan as a report, for files and programs."""
        rows = (
            NormRow(
                decision.site.path,
                decision.site.class_name,
                decision.site.channels,
                decision.site.observed_calls,
                decision.outcome,
                decision.remark,
                decision.site.aliases,
            )
            for decision in self.decisions
        )
        title = f"Plan for {type(self.survey.model).__name__}: {self.policy!r}"
        return Report(title, norms=tuple(rows), notes=tuple(self._notes()))

    def __str__(self) -> str:
        """Return the plan as a table that a person can read."""
        if not self.decisions:
            return "\n".join(("No batch normalization found: nothing to do.", *self._notes()))
        columns = ("norm", "class", "channels", "calls", "becomes", "remark")
        remarks, footnotes = footnoted([decision.remark for decision in self.decisions])
        cells = norm_cells(self.report.norms)
        rows = [(*row[:-1], remark) for row, remark in zip(cells, remarks, strict=True)]
        counts = Counter(decision.outcome for decision in self.decisions)
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
        summary = f"{len(rows)} norm{'s' * (len(rows) != 1)}: {outcomes}"
        return "\n".join((table(columns, rows), *footnotes, summary, *self._notes()))

    def _notes(self) -> list[str]:
        """Return notes on norms that the plan does not reach, or whose calls are unknown."""
        notes = [
            f"{path or '(root)'}: could not be traced ({why}); "
            "norms inside are converted, but their calls are not counted"
            for path, why in self.survey.untraceable.items()
        ]
        notes += [
            f"{path}: TorchScript: norms inside are not found and not converted; "
            "use the eager module instead"
            for path in self.survey.scripted
        ]
        notes += [
            f"{call.owner or '(root)'}: {call.fact}; {call.remedy}"
            for call in self.survey.functional
            if not call.on_weight
        ]
        notes += [
            f"{site.path}: {site.kind.unsupported}; it is not converted, and the forward does not "
            "call it"
            for site in self.survey.idle
        ]
        ours = [d.rewrite for d in self.decisions if isinstance(d.rewrite, Replacement)]
        if any(rewrite.keeps_batch_norm_state for rewrite in ours):
            notes.append(
                "the new norms are no subclasses of torch's _BatchNorm: update_bn and loops over "
                "it do not see them; use recompute_statistics(model, batches), and "
                "bnconvert.NORM_CLASSES in isinstance"
            )
        if self.refusals:
            notes.append("convert() would raise RefusedError and change nothing")
        return notes


def functional_norms(surveyed: Survey) -> list[FunctionalNorm]:
    """Return the norms in forwards that a rewrite was to replace, and cannot.

    Not those by which a norm module is used, which is refused itself; nor those without running
    statistics, and those that only the code of a forward mentions.
    """
    users = {user for site in surveyed.sites for user in site.used_by}
    return [
        call
        for call in surveyed.functional
        if call.node is not None
        and not (call.on_weight or call.by_batch_alone)
        and call.owner not in users
    ]


def make_plan(model: nn.Module, policy: Policy) -> Plan:
    """Choose a rewrite for every norm of `model`; looks only.

    Raises:
        PolicyError: a rule matches no norm.
        UnsupportedModelError: `model` is wrapped, compiled or scripted.
    """
    return plan_of(survey(model), policy)


def plan_of(surveyed: Survey, policy: Policy) -> Plan:
    """Do what `make_plan` does, for a model that is surveyed already."""
    policy.require_used(surveyed.sites, [call.owner for call in functional_norms(surveyed)])
    hidden = hidden_references(surveyed.model, [site.module for site in surveyed.sites])
    decisions = tuple(_decide(site, policy, hidden) for site in surveyed.sites)
    return Plan(policy, surveyed, decisions)


def _decide(site: Site, policy: Policy, hidden: dict[int, HiddenReference]) -> Decision:
    """Take the first legal alternative of the rule for a norm, or refuse it with all reasons."""
    first_paths: dict[tuple[Rewrite, ...], str] = {}
    for path in site.paths:
        first_paths.setdefault(policy.choices_for(path), path)
    if len(first_paths) > 1:
        rules = ", ".join(f"{path} gets {Alternatives(c)!r}" for c, path in first_paths.items())
        fact = f"one module at {len(site.paths)} paths: {rules}"
        conflict = Refusal("rules-conflict", fact, "give all of them one rule")
        return Decision(site, None, (conflict,))
    refusals: list[Refusal] = []
    (choices,) = first_paths
    for rewrite in choices:
        refusal = _why_not_replaceable(site, hidden) if rewrite.replaces else None
        refusal = refusal or rewrite.why_not(site) or _why_not_detach(site, rewrite)
        if refusal is None:
            return Decision(site, rewrite, tuple(refusals), rewrite.caution(site))
        if len(choices) > 1:
            refusal = replace(refusal, text=f"{rewrite!r}: {refusal.text}")
        refusals.append(refusal)
    return Decision(site, None, tuple(dict.fromkeys(refusals)))


def _why_not_detach(site: Site, rewrite: Rewrite) -> Refusal | None:
    """Refuse where the norm holds state that the rewrite would lose."""
    if not isinstance(site.module, Normalization) or not rewrite.replaces:
        return None
    refusal = site.module.why_not_detach()
    return refusal if refusal and rewrite.edits(site) else None


def _why_not_replaceable(site: Site, hidden: dict[int, HiddenReference]) -> Refusal | None:
    """Refuse where the norm cannot be replaced, whatever the rewrite."""
    if site.kind.unsupported:
        return site.kind.unsupported
    if site.used_by:
        where = ", ".join(path or "(root)" for path in site.used_by)
        return Refusal(
            "used-without-call",
            f"{where} uses its statistics without calling it, which no rewrite changes",
            "call the norm itself there, or use Keep()",
        )
    if holder := hidden.get(id(site.module)):
        refusal = holder.refusal
        return replace(refusal, remedy=f"{refusal.remedy}, or use Keep()")
    return None

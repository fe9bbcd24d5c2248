"""`suggest`: a policy for a model and its training, with the reason for each part of it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from bnconvert.conversion.choices import RELATED_SCRATCH, SMALL, SMALL_SCRATCH, TRAIN_ON, Choice
from bnconvert.conversion.path_rules import rules_for
from bnconvert.conversion.plan import Decision, Plan, functional_norms, plan_of
from bnconvert.conversion.policy import Policy
from bnconvert.conversion.situation import Situation, Task
from bnconvert.modules.ambient_modes import usual_modes
from bnconvert.modules.kinds import has_running_statistics
from bnconvert.modules.rewrite import Rewrite
from bnconvert.modules.site import Site, Survey
from bnconvert.modules.survey import survey
from bnconvert.modules.tracking import is_untrained
from bnconvert.norms.frozen import Frozen
from bnconvert.norms.group import Group
from bnconvert.norms.keep import Keep
from bnconvert.norms.sync import SyncNorm
from bnconvert.reporting.table import listed
from bnconvert.torch_private.one_at_a_time import one_at_a_time

_MODEL = "the model itself"
_GROUPS = (32, 16, 8, 4, 2, 1)


@dataclass(frozen=True)
class Reason:
    """Why a suggestion is as it is.

    Attributes:
        text: the reason, in a sentence.
        source: slide, paper and section, sample, public thread, or the model itself.
    """

    text: str
    source: str


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A policy for a model, with its reasons; print it to read it, verdict first.

    Attributes:
        policy: for `plan`, `convert` and `prepare`; no norm of the model refuses it.
        reasons: why, the first for most of the norms.
        besides: what to do besides converting, a sentence each.
        plan: what the policy does to each norm.
        situation: what was asked: batch, devices, task and data.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 24, 3), nn.BatchNorm2d(24))
        >>> suggestion = bnc.suggest(net, batch_size=2, pretrained=False)
        >>> suggestion.reasons[0].source
        'talk, slide 24: 35 % wrong by 2 images; Wu and He 2018: 10.6 % less there with group norm'
        >>> suggestion.to_dict()["norms"]
        {'1': 'Group(groups=8)'}
    """

    policy: Policy
    reasons: tuple[Reason, ...]
    besides: tuple[str, ...]
    plan: Plan
    situation: Situation

    @property
    def verdict(self) -> str:
        """The suggestion in a line: the policy, and how many norms become what."""
        counts = Counter(d.outcome for d in self.plan.decisions).most_common()
        if not counts:
            return "nothing to convert: no batch normalization module was found"
        total = sum(count for _, count in counts)
        becomes = ", ".join(f"{count} {outcome}" for outcome, count in counts)
        change = any(d.rewrite is not None and d.rewrite.replaces for d in self.plan.decisions)
        use = f"use {self.policy!r}" if change else "keep batch norm as it is"
        return f"{use}; {total} norm{'s' * (total != 1)}: {becomes}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "verdict": self.verdict,
            "policy": repr(self.policy),
            "reasons": [vars(reason) for reason in self.reasons],
            "besides": list(self.besides),
            "norms": {d.site.path: d.outcome for d in self.plan.decisions},
            "situation": vars(self.situation),
        }

    def __str__(self) -> str:
        """Return the verdict, the reasons with their sources, and what to do besides."""
        lines = [self.verdict]
        lines += [f"because: {r.text} [{r.source.replace('`', '')}]" for r in self.reasons]
        lines += [f"besides: {sentence}" for sentence in self.besides]
        return "\n".join(lines)


@one_at_a_time()
@usual_modes()
def suggest(
    model: nn.Module,
    *,
    batch_size: int,
    world_size: int = 1,
    task: Task | None = None,
    domains: int | Sequence[str] = 1,
    pretrained: bool = True,
) -> Suggestion:
    """Suggest a policy for a model and the way in which it is to be trained, with reasons.

    What decides is the normalization batch: the samples that one norm sees in one forward. That
    is `batch_size`, and for norms that are synchronized already `batch_size * world_size`. The
    rules are the table of the norms' page. Norms with the statistics of no training (a new head)
    are treated as from scratch, and norms that can only be kept are kept, with the reason.

    Args:
        model: an eager module; it is not changed.
        batch_size: samples per device in one forward, a micro-batch if gradients accumulate.
        world_size: processes that train together.
        task: "detection", "video", "reinforcement-learning" or "gan"; None for independent
            samples that are drawn at random, as in classification and segmentation.
        domains: how many sources of data there are, or their names.
        pretrained: whether the model has trained weights.

    Raises:
        UnsupportedModelError: the model is wrapped, compiled or scripted.
        ValueError: an argument is out of its range.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 24, 3), nn.BatchNorm2d(24))
        >>> print(bnc.suggest(net, batch_size=2, pretrained=False))
        use Group(groups=8); 1 norm: 1 Group(groups=8)
        because: training from scratch, small batches, one device: independent of the batch, ...
        because: each norm sees 2 samples in a forward; fewer than 16 are a small batch [...]
        besides: train on: group norm is another function ...
    """
    situation = Situation(batch_size, world_size, task, domains, pretrained)
    surveyed = survey(model)
    choices = {site.path: _choice(site, situation) for site in surveyed.sites}
    policy = _policy(surveyed, situation, choices)
    planned = plan_of(surveyed, policy)
    reasons = tuple(_reasons(planned, situation, choices))
    return Suggestion(policy, reasons, _besides(planned, choices), planned, situation)


def _choice(site: Site, situation: Situation) -> Choice:
    """Return the row of the table for a norm."""
    trained = situation.pretrained and not is_untrained(site.module)
    return situation.choice(trained=trained, synchronized=_is_synchronized(site))


def _is_synchronized(site: Site) -> bool:
    return isinstance(site.module, SyncNorm) or issubclass(site.kind.plain_class, nn.SyncBatchNorm)


def _policy(surveyed: Survey, situation: Situation, choices: Mapping[str, Choice]) -> Policy:
    """Return the shortest policy that gives each norm the first legal rewrite of its row."""
    owners = [call.owner for call in functional_norms(surveyed)]
    scratch = (SMALL_SCRATCH, RELATED_SCRATCH)
    groups = _groups([s.channels for s in surveyed.sites if choices[s.path] in scratch])
    wishes: dict[str, tuple[Rewrite, ...]] = {}
    for site in surveyed.sites:
        synchronized = _is_synchronized(site)
        tried = situation.rewrites(choices[site.path], groups=groups, synchronized=synchronized)
        stays = {*owners} & {*site.paths} or (
            site.kind.has_fixed_statistics and tried[0].replaces and not _freezes(tried[0])
        )
        wishes |= dict.fromkeys(site.paths, (Keep(),) if stays else tried)
    wishes |= dict.fromkeys(owners, (Keep(),))
    trial = plan_of(surveyed, rules_for(wishes, {}))
    taken: dict[tuple[Rewrite, ...], set[Rewrite]] = {}
    for decision in trial.decisions:
        assert decision.rewrite is not None  # Keep is the last alternative of all
        taken.setdefault(wishes[decision.site.path], set()).add(decision.rewrite)
    return rules_for(wishes, taken)


def _freezes(rewrite: Rewrite) -> bool:
    return rewrite == Frozen()


def _groups(channels: Sequence[int]) -> list[int]:
    """Return the numbers of groups to try: none that leaves a norm one channel a group.

    Such a norm would be instance norm, which has a higher error (Wu and He, 2018, table 3).
    """
    return [n for n in _GROUPS if n == 1 or n not in channels]


def _reasons(
    planned: Plan, situation: Situation, choices: Mapping[str, Choice]
) -> Iterator[Reason]:
    """Yield a reason for each row that was chosen, the most frequent first, and for exceptions."""
    sites = [decision.site for decision in planned.decisions]
    for choice, _ in Counter(choices[site.path] for site in sites).most_common():
        yield Reason(f"{choice.case}: {choice.why}", choice.source)
    untrained = [site.path or "(root)" for site in sites if is_untrained(site.module)]
    if situation.pretrained and untrained:
        yield Reason(
            f"{listed(untrained)}: has mean 0 and variance 1, of no training: treated as from "
            "scratch; if the weights are not loaded yet, load them and ask again",
            _MODEL,
        )
    for synchronized in sorted({_is_synchronized(site) for site in sites}):
        seen = situation.seen(synchronized=synchronized)
        size = "fewer than" if seen < SMALL else "only fewer than"
        yield Reason(
            f"each norm sees {seen} sample{'s' * (seen != 1)} in a forward"
            f"{' over all devices' * synchronized}; {size} {SMALL} are a small batch",
            "talk, slide 24",
        )
    yield from _kept(planned.decisions, choices)
    for call in functional_norms(planned.survey):
        yield Reason(f"{call.owner or '(root)'}: {call.fact}; {call.remedy}", _MODEL)


def _kept(decisions: Sequence[Decision], choices: Mapping[str, Choice]) -> Iterator[Reason]:
    """Yield why norms are kept, where their row says another norm."""
    paths: dict[str, list[str]] = {}
    for decision in decisions:
        site = decision.site
        if decision.rewrite != Keep() or choices[site.path].use.startswith("`Keep()`"):
            continue
        if site.kind.has_fixed_statistics:
            why = "kept: it is frozen already"
        elif site.kind.unsupported:
            why = f"kept: {site.kind.unsupported.text}"
        elif not has_running_statistics(site.module):
            why = "kept: it has no running statistics"
        else:
            why = "kept: no other norm is legal there; plan says why"
        paths.setdefault(why, []).append(site.path or "(root)")
    for why, own in paths.items():
        yield Reason(f"{listed(own)}: {why}", _MODEL)


def _besides(planned: Plan, choices: Mapping[str, Choice]) -> tuple[str, ...]:
    """Return what to do besides converting, each sentence once."""
    found: dict[str, None] = {}
    for decision in planned.decisions:
        if decision.rewrite != Keep() or choices[decision.site.path].use.startswith("`Keep()`"):
            found |= dict.fromkeys(choices[decision.site.path].besides)
        if isinstance(decision.rewrite, Group):
            found[TRAIN_ON] = None
    return tuple(found)

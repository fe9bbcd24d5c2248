"""Findings about momentum, eps and running statistics as they are set: BN004 to BN008."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from bnconvert.diagnosis.findings.code_lines import for_each
from bnconvert.diagnosis.findings.rule import Rule, found_by
from bnconvert.diagnosis.findings.training_mode import (
    momentum_of,
    normalizes_by_batch,
    tracks_batch,
)
from bnconvert.modules.kinds import eps_of, has_default_statistics, has_running_statistics
from bnconvert.modules.site import Site, Survey
from bnconvert.reporting.records import Finding

_SUSPICIOUS = 0.5  # a larger momentum is another framework's
_FROZEN_OR_MOVING = "set momentum to 0.1; to keep the statistics fixed, convert with Frozen()"
_set_default_momentum = for_each("setattr(m, 'momentum', 0.1)")


def _begins_anew(site: Site) -> bool:
    """Tell whether a cumulative average has statistics, and counts no batch behind them."""
    counter = site.module._buffers.get("num_batches_tracked")
    return (
        getattr(site.module, "momentum", 0.0) is None
        and tracks_batch(site)
        and counter is not None
        and not counter.is_meta
        and int(counter) == 0
        and site.channels > 0
        and not has_default_statistics(site.module)
    )


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
        lambda site: (momentum_of(site) or 0.0) >= _SUSPICIOUS,
        lambda sites: (
            f"momentum of {_values_of(sites, momentum_of)}: the last batch dominates the running "
            "statistics; it looks like the convention of Keras, where 0.9 is torch's 0.1"
        ),
        "set momentum to 1 - momentum",
        "[setattr(m, 'momentum', min(1 - m.momentum, 0.1) or 0.1) for m in model.modules() "
        "if (getattr(m, 'momentum', None) or 0) >= 0.5]",
    ),
    Rule(
        "BN006",
        "error",
        lambda site: momentum_of(site) == 0 and site.module.training,
        "momentum is 0: training normalizes by the batch, and the running statistics of eval mode "
        "never move",
        _FROZEN_OR_MOVING,
        _set_default_momentum,
    ),
    Rule(
        "BN006",
        "warning",
        lambda site: momentum_of(site) == 0 and not site.module.training,
        "momentum is 0: eval mode is not affected, but a training would normalize by the batch and "
        "never move the running statistics",
        _FROZEN_OR_MOVING,
        _set_default_momentum,
    ),
    Rule(
        "BN007",
        "warning",
        _begins_anew,
        "momentum is None and num_batches_tracked is 0: the first training batch replaces the "
        "stored statistics",
        "set a momentum, or num_batches_tracked to the number of batches behind the statistics",
        _set_default_momentum,
    ),
    Rule(
        "BN008",
        "warning",
        lambda site: eps_of(site.module) == 0 and normalizes_by_batch(site),
        "eps is 0: a channel that is constant in a batch becomes NaN",
        "set eps to that of the training that the weights come from, 1e-5 by default",
    ),
)


def settings_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about momentum, eps and whether there are running statistics."""
    yield from found_by(RULES, survey.sites)
    sites = [site for site in survey.sites if not site.kind.is_other_class]
    if len({eps_of(site.module) for site in sites}) > 1:
        usual = Counter(eps_of(site.module) for site in sites).most_common(1)[0][0]
        yield Finding(
            "BN008",
            "info",
            tuple(site.path for site in sites if eps_of(site.module) != usual),
            f"norms with different eps: {_values_of(sites, lambda site: eps_of(site.module))}",
            "nothing where parts come from different trainings; otherwise set the eps of the "
            "training that the weights come from",
        )


def _values_of(sites: Sequence[Site], value: Callable[[Site], float | None]) -> str:
    """Describe the values of a setting, with how many norms have each: "0.1 (20), 0.9 (1)"."""
    counts = Counter(value(site) or 0.0 for site in sites).most_common()
    if len(counts) == 1:
        return f"{counts[0][0]:g}"
    return ", ".join(f"{found:g} ({times})" for found, times in counts)

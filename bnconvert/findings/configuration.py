"""Findings about how norms are set up and called: BN0xx."""

from collections.abc import Iterator

from bnconvert.reporting.records import Finding, Severity
from bnconvert.site import Site, Survey


def configuration_findings(survey: Survey) -> Iterator[Finding]:
    """Yield what the modules' settings and the trace tell."""
    sites = survey.sites
    yield from _finding(
        "BN003",
        "warning",
        [s for s in sites if survey.model.training and _is_frozen_by_eval(s)],
        "in eval mode inside a model in training mode, which the next model.train() undoes",
        "convert with Frozen() to freeze them for good",
    )
    yield from _finding(
        "BN004",
        "info",
        [s for s in sites if s.module._buffers.get("running_mean") is None],
        "no running statistics: the output of a sample depends on the rest of its batch",
        "set track_running_stats=True and train or recompute them",
    )
    yield from _finding(
        "BN009",
        "warning",
        [s for s in sites if len(s.calls) > 1],
        "called at several places in one forward, with one set of statistics for all of them",
        "give each place a norm of its own",
    )
    yield from _finding(
        "BN012",
        "error",
        [s for s in sites if s.kind.unsupported],
        "cannot be converted: "
        + "; ".join(sorted({s.kind.unsupported for s in sites if s.kind.unsupported})),
        "use Keep() for them",
    )
    functional = [call.owner for call in survey.functional if not call.on_weight]
    if functional:
        yield Finding(
            "BN019",
            "info",
            tuple(functional),
            "F.batch_norm is called in the forward, where no conversion reaches it",
            "make it a module to convert it; fold and export see it all the same",
        )
    if survey.closed:
        yield Finding(
            "BN020",
            "info",
            tuple(survey.closed),
            "closed to the trace, so that calls inside are not counted "
            f"({next(iter(survey.closed.values()))})",
            "give example inputs to see the calls",
        )


def _is_frozen_by_eval(site: Site) -> bool:
    return not site.module.training and not site.kind.has_fixed_statistics


def _finding(
    name: str, severity: Severity, sites: list[Site], message: str, fix: str
) -> Iterator[Finding]:
    if sites:
        yield Finding(name, severity, tuple(site.path for site in sites), message, fix)

"""Findings about how many batches the norms have counted: BN110."""

from collections import Counter
from collections.abc import Iterator

from bnconvert.diagnosis.findings.stored_tensors import is_readable
from bnconvert.diagnosis.findings.training_mode import tracks_batch
from bnconvert.modules.site import Site, Survey
from bnconvert.reporting.records import Finding

_ENOUGH = 10  # fewer batches may be a multiple by chance


def counter_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about norms that counted another number of batches than the others.

    Norms that have counted none are not meant: a new head has not been trained yet.
    """
    counts = {
        site: count
        for site in survey.sites
        if is_readable(site) and tracks_batch(site) and (count := batches_tracked(site))
    }
    if len(set(counts.values())) < 2:
        return
    usual = Counter(counts.values()).most_common(1)[0][0]
    counts = {site: count for site, count in counts.items() if count != usual * len(site.calls)}
    several = {site: count // usual for site, count in counts.items() if _is_multiple(count, usual)}
    if several:
        times = sorted({*several.values()})
        yield Finding(
            "BN110",
            "warning",
            tuple(site.path for site in several),
            f"counted exactly {' or '.join(map(str, times))} times as many batches as the other "
            f"norms ({usual}): they update several times in a step",
            "where they are called several times, give each call a norm of its own; where they "
            "are recomputed by gradient checkpointing, use bnc.checkpoint_contexts",
        )
    others = [site for site, c in counts.items() if c != usual and site not in several]
    if others:
        values = sorted({counts[site] for site in others})
        shown = ", ".join(map(str, values[:3])) + (", ..." if len(values) > 3 else "")
        yield Finding(
            "BN110",
            "info",
            tuple(site.path for site in others),
            f"counted {shown} batches, the other norms {usual}",
            "nothing, where parts of the model were trained for another time",
        )


def batches_tracked(site: Site) -> int | None:
    """Return how many batches the norm has counted; None where it does not, or has no numbers."""
    counter = site.module._buffers.get("num_batches_tracked")
    return None if counter is None or counter.is_meta else int(counter)


def _is_multiple(count: int, usual: int) -> bool:
    return usual >= _ENOUGH and count > usual and count % usual == 0

"""Outputs that depend on the rest of their batch, by a mistake or on purpose: BN403."""

from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from bnconvert.modules.kinds import has_running_statistics, norms_in
from bnconvert.modules.normalization import Normalization
from bnconvert.reporting.records import Check, Finding
from bnconvert.verification.finding_ids import BATCH_DEPENDENCE

_RETRAIN = (
    "make them with track_running_stats=True and train, or recompute their statistics, so that "
    "eval mode normalizes by stored ones"
)


def mixing_norms(model: nn.Module) -> list[str]:
    """Return the paths of norms that are meant to mix the samples of a batch in eval mode."""
    return [
        path or "(root)"
        for path, norm, _ in norms_in(model)
        if isinstance(norm, Normalization) and norm.mixes_samples_in_eval
    ]


def dependence_findings(model: nn.Module, checks: Iterable[Check]) -> Iterator[Finding]:
    """Yield the finding about rows that differ with their batch.

    Args:
        model: what the file was made from.
        checks: of the file; those of the measure "rows" compare a row in two batches.
    """
    if mixing := mixing_norms(model):
        yield Finding(
            BATCH_DEPENDENCE,
            "info",
            tuple(mixing),
            "norms adapt to the batch on purpose, in the file too: the output of a row depends on "
            "its batch, and rows were not compared in other batches",
            "nothing; for a fixed function recompute the statistics on target data and revert the "
            "model",
        )
    elif any(check.measure == "rows" and not check.passed for check in checks):
        untracked = _without_statistics(model)
        yield Finding(
            BATCH_DEPENDENCE,
            "error",
            (*untracked,) or ("(root)",),
            "norms without running statistics normalize by the batch, in the file too: a row "
            "comes out otherwise in another batch"
            if untracked
            else "a row of the file comes out otherwise in another batch, and the model's does "
            "not: something in it normalizes by the batch, or mixes rows",
            _RETRAIN if untracked else "export the model in eval mode, with bnc.export",
        )


def _without_statistics(model: nn.Module) -> Sequence[str]:
    """Return the paths of norms that normalize by the batch in eval mode too."""
    return [
        path or "(root)"
        for path, norm, kind in norms_in(model)
        if not isinstance(norm, Normalization)
        and not kind.has_fixed_statistics
        and not has_running_statistics(norm)
    ]

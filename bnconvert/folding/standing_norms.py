"""Why norms stand in a folded graph, a finding for each reason: BN401 and BN402."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from bnconvert.reporting.records import Finding, NormRow
from bnconvert.verification.finding_ids import BATCH_STATISTICS

#: Codes of refusals that a finding of its own is about.
_BY_BATCH = {"batch-statistics": "without running statistics", "training-mode": "in training mode"}
_TOLD_ELSEWHERE = (*_BY_BATCH, "weight-overflows")
#: By the code of a refusal, what it says of several norms.
REASONS = {
    "addition-does-not-pass": "an addition does not pass the activation or pooling beside them",
    "border": "at the border of zero padding their addition would be left out",
    "broadcast": "they would go into a sum or a product that is broadcast",
    "composition-overflows": "joined with the scale before them they would leave the dtype's range",
    "computed-in-forward": "a weight, bias or statistic is computed in the forward, not stored",
    "costs-more": "one convolution for the branches would be more work than the branches",
    "dynamic-size": "they would be cut or joined along an axis of dynamic size",
    "geometry-differs": "the branches' windows differ",
    "image-statistics": "they normalize every image by its own statistics",
    "inside-region": "they are in a part of the graph that runs as one operator",
    "no-layer-downstream": "what reads them is no convolution or linear layer",
    "no-layer-upstream": "their input is made by no convolution or linear layer",
    "not-affine": "what is next to them computes with another value",
    "not-finite": "statistics, weight or bias hold NaN, infinity or a negative variance",
    "not-floating-point": "the layer's weight is no floating-point tensor",
    "not-the-input": "they are the weight or the slope of an operator, not its input",
    "other-axis": "the layer's channels are on another axis",
    "other-consumers": "other operators read their input too",
    "paths-meet": "two paths from them meet again",
    "scale-does-not-pass": "a sum with another value would have to be scaled too",
    "scale-is-zero": "a factor of theirs is zero",
    "scale-not-positive": "only positive scales pass the activation or pooling beside them",
    "too-far": "the layers to fold them into are too many operators away",
    "too-many-ways": "sums around them divide and meet too often to be searched",
    "unsupported-operator": "an operator next to them takes no scale and shift",
    "value-used-twice": "an operator reads the same value twice",
    "weight-shared": "the layer's weight is also read elsewhere, and a copy costs more",
}
_TRACK = (
    "call eval() where they are in training mode; make them with track_running_stats=True and "
    "train where they have no statistics; leave them where test-time batches are meant"
)


def standing_findings(rows: Sequence[NormRow]) -> Iterator[Finding]:
    """Yield a finding for each reason why norms stand, and one about batch statistics.

    Args:
        rows: what folding did with each call of them.
    """
    by_batch = _unique(row.path for row in rows if {*row.codes} & {*_BY_BATCH})
    said = {code for row in rows for code in row.codes}
    if by_batch:
        why = " or ".join(words for code, words in _BY_BATCH.items() if code in said)
        yield Finding(
            BATCH_STATISTICS,
            "warning",
            by_batch,
            f"{why}: the graph normalizes by the batch it is given, so that a sample's output "
            "depends on the others beside it; export ships no such file",
            _TRACK,
        )
    for codes, paths in _by_reason(rows).items():
        yield Finding(
            "BN401",
            "info",
            paths,
            f"not folded away: {_words(codes)} ({', '.join(codes)})",
            "nothing: the result is right; docs/what-folds.md says what would fold, and what each "
            "costs",
        )


def _by_reason(rows: Sequence[NormRow]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return the paths of standing norms by the codes of their reason."""
    found: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in rows:
        if row.outcome == "standing" and row.codes and not {*row.codes} & {*_TOLD_ELSEWHERE}:
            found[row.codes].append(row.path)
    return {codes: _unique(paths) for codes, paths in found.items()}


def _words(codes: Sequence[str]) -> str:
    first, *others = (REASONS.get(code, code) for code in codes)
    return "; ".join([first, *(f"downstream, {said}" for said in others)])


def _unique(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))

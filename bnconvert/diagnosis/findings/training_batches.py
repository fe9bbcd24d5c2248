"""Findings about the batches of training: BN203, BN205, BN208, BN209."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import torch
from torch import Tensor

from bnconvert.diagnosis.findings.training_mode import ENOUGH_IMAGES, HARDLY_ANY_IMAGES
from bnconvert.diagnosis.norm_samples import NormSamples
from bnconvert.numerics.batch_dependence import (
    Dependence,
    share_between_batches,
    similarity_across_ends,
    similarity_in_batches,
)
from bnconvert.reporting.records import Finding

_LEAST, _MOST = 64, 512  # samples that are compared with each other
_NORMS, _CHANNELS = 4, 16  # how many norms, and channels of each, are compared
_ALIKE, _SHARE = 0.25, 0.1  # smaller correlations and shares between batches do no harm
_OUTLIER = 0.5  # sigma
_SHUFFLE = "shuffle the training data: DataLoader(..., shuffle=True)"
_DROP_LAST = "batches = [*batches][:-1]"


def training_batch_findings(
    norms: Sequence[NormSamples], sizes: Mapping[int, int]
) -> Iterator[Finding]:
    """Yield the findings about batches that a model is trained with.

    Args:
        norms: the samples at norms that normalize by the batch in training, in order.
        sizes: by the index of the batch, how many samples it has.
    """
    yield from _small_batches(norms, sizes)
    yield from _single_values(norms, sizes)
    yield from _dependent_samples(norms)
    yield from _last_batch(norms)


def _small_batches(norms: Sequence[NormSamples], sizes: Mapping[int, int]) -> Iterator[Finding]:
    images = {
        norm.path: median(min(len(x), sizes.get(i, len(x))) for i, x in norm.by_batch.items())
        for norm in norms
    }
    few = tuple(path for path, count in images.items() if count < ENOUGH_IMAGES)
    if few:
        least = min(images.values())
        yield Finding(
            "BN203",
            "error" if least < HARDLY_ANY_IMAGES else "warning",
            few,
            f"a batch has {least:g} images, whose statistics are noise: values inside of an image "
            "are alike, so that only images count",
            "Sync() over devices, Renorm() or Group() for a training from the start, Frozen() for "
            "a pretrained model",
        )


def _single_values(norms: Sequence[NormSamples], sizes: Mapping[int, int]) -> Iterator[Finding]:
    single = {norm.path: norm.single for norm in norms if norm.single}
    if not single:
        return
    batches = sorted({index for indices in single.values() for index in indices})
    which = f"batch {batches[0]}" + (f" and {len(batches) - 1} more" if batches[1:] else "")
    yield Finding(
        "BN205",
        "error",
        tuple(single),
        f"of {which} one value per channel arrives, for which training raises an error",
        "drop_last=True in the DataLoader where it is the last batch, else larger batches",
        _DROP_LAST if batches == [max(sizes)] else "",
    )


def _dependent_samples(norms: Sequence[NormSamples]) -> Iterator[Finding]:
    """Yield at most one finding on how samples depend on their place among the batches."""
    step = -(-len(norms) // _NORMS) or 1
    for norm in norms[::step]:
        batches = _even_batches(norm)
        if batches is None:
            continue
        found = similarity_in_batches(batches)
        if _is_high(found, _ALIKE):
            if similarity_across_ends(batches) > found.value:
                yield _in_order(norm, found)
            else:
                yield _in_groups(norms, norm, found)
            return
    if norms and (batches := _even_batches(norms[0])) is not None:
        sizes = [batches.shape[1]] * len(batches)
        between = share_between_batches(batches.flatten(0, 1), sizes)
        if _is_high(between, _SHARE):
            yield _of_kinds(norms[0], between)


def _even_batches(norm: NormSamples) -> Tensor | None:
    """Return the first batches of equal size, shape (B, n, c); None where they are too few."""
    count = len(next(iter(norm.by_batch.values())))
    even = [means for means in norm.by_batch.values() if len(means) == count]
    even = even[: max(2, _MOST // count)]
    if len(even) < 2 or count < 4 or len(even) * count < _LEAST:
        return None
    stacked = torch.stack(even)
    return stacked[:, :, :: -(-stacked.shape[2] // _CHANNELS)]


def _is_high(found: Dependence, least: float) -> bool:
    return found.value > max(least, found.chance)


def _in_order(norm: NormSamples, found: Dependence) -> Finding:
    return Finding(
        "BN209",
        "warning",
        (norm.path,),
        f"the data are in an order: neighbors correlate by {found.value:.2f}, those of shuffled "
        f"batches by {found.chance:.2f} at most, and so do the ends of consecutive batches",
        _SHUFFLE,
    )


def _of_kinds(norm: NormSamples, found: Dependence) -> Finding:
    return Finding(
        "BN209",
        "warning",
        (norm.path,),
        f"each batch is of another kind: {found.value:.0%} of the variance between samples lies "
        f"between batches, of shuffled ones {max(found.chance, 0):.0%} at most",
        _SHUFFLE,
    )


def _in_groups(norms: Sequence[NormSamples], norm: NormSamples, found: Dependence) -> Finding:
    apart = "neighbors in a batch" if found.lag == 1 else f"samples {found.lag} places apart"
    return Finding(
        "BN208",
        "warning",
        tuple(norm.path for norm in norms),
        f"the batches hold groups of samples that are alike: at {norm.path} {apart} correlate by "
        f"{found.value:.2f}, shuffled ones by {found.chance:.2f} at most; the batch's statistics "
        "tell each sample about its group",
        "put the samples of a group into different batches; or Frozen() for a pretrained model, "
        "Group() for a training from the start",
    )


def _last_batch(norms: Sequence[NormSamples]) -> Iterator[Finding]:
    """Yield the finding on a short last batch that is off: it counts as much as a full one."""
    off: dict[str, float] = {}
    count = usual = 0
    for norm in norms:
        *others, last = norm.by_batch.values()
        if not others or 4 * len(last) >= (size := median(map(len, others))) or len(last) < 2:
            continue
        distance = float(last.mean(0).square().mean().sqrt())
        if distance > _OUTLIER:
            off[norm.path], count, usual = distance, len(last), int(size)
    if off:
        path, distance = max(off.items(), key=lambda pair: pair[1])
        yield Finding(
            "BN209",
            "warning",
            tuple(off),
            f"the last batch has {count} samples, the others {usual}, and counts as much in the "
            f"running statistics: its mean is off by {distance:.2g} sigma at {path}",
            "drop_last=True in the DataLoader",
            _DROP_LAST,
        )

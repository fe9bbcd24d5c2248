"""Findings about the batches that a training loader will give: BN013, BN203, BN205, BN311."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from bnconvert.diagnosis.findings.training_mode import (
    ENOUGH_IMAGES,
    HARDLY_ANY_IMAGES,
    normalizes_by_batch,
)
from bnconvert.diagnosis.norm_inputs import NormInput
from bnconvert.modules.site import Site, Survey
from bnconvert.norms.renorm import RenormNorm
from bnconvert.norms.sync import SyncNorm
from bnconvert.reporting.records import Finding

_SMALL_LAST = 0.25  # of a full batch
DROP_LAST = "loader.batch_sampler.drop_last = True"


@dataclass(frozen=True)
class BatchSizes:
    """The sizes of the batches of a loader.

    Attributes:
        full: of all batches but the last.
        last: of the last one; None where it is as large, is dropped, or is not known.
    """

    full: int
    last: int | None

    @classmethod
    def of(cls, loader: Any) -> "BatchSizes | None":
        """Read them from a `DataLoader`, without loading anything; None where it does not say."""
        sampler = getattr(loader, "batch_sampler", None)
        full = getattr(sampler, "batch_size", None)
        if not isinstance(full, int) or full < 1:
            return None
        try:
            rest = len(sampler.sampler) % full  # type: ignore[union-attr]
        except (AttributeError, TypeError, NotImplementedError):
            return cls(full, None)  # a stream has no length
        return cls(full, None if getattr(sampler, "drop_last", False) or not rest else rest)


def batch_findings(
    survey: Survey, inputs: Mapping[str, NormInput], sizes: BatchSizes | None
) -> Iterator[Finding]:
    """Yield the findings about batches that are too small to normalize by.

    Args:
        survey: of the model.
        inputs: by path, what reaches the norms on example inputs; none where there are none.
        sizes: of the training batches; None where they are not known.
    """
    sites = [site for site in survey.sites if _normalizes_alone(site)]
    flat = [s for s in sites if s.path in inputs and inputs[s.path].values_per_image == 1]
    if flat:
        yield from _one_value_per_image(flat, sizes)
    if sites and sizes is not None:
        yield from _too_small(sites, inputs, sizes.full)
        yield from _last(sites, flat, sizes)


def _normalizes_alone(site: Site) -> bool:
    """Tell whether training normalizes by one device's batch, and nothing corrects for it."""
    trains = site.module.training or not site.model.training  # else it is frozen by eval mode
    helped = isinstance(site.module, nn.SyncBatchNorm | SyncNorm | RenormNorm)
    return trains and normalizes_by_batch(site) and not helped


def _one_value_per_image(flat: Sequence[Site], sizes: BatchSizes | None) -> Iterator[Finding]:
    paths = tuple(site.path for site in flat)
    fix = "use Frozen() or a layer norm there, or larger batches"
    if sizes is None:
        message = (
            "one value per image and channel: a batch of n images is normalized by n values, and a "
            "batch of one raises in training"
        )
        yield Finding("BN013", "info", paths, message, "nothing for batches of 16 images or more")
    elif sizes.full < ENOUGH_IMAGES:
        message = f"one value per image and channel: training normalizes by {sizes.full} values"
        yield Finding("BN013", "warning", paths, message, fix)


def _too_small(
    sites: Sequence[Site], inputs: Mapping[str, NormInput], images: int
) -> Iterator[Finding]:
    if images >= ENOUGH_IMAGES:
        return
    known = [inputs[site.path].values_per_image * images for site in sites if site.path in inputs]
    values = f" ({min(known)} to {max(known)} values of a channel)" if known else ""
    yield Finding(
        "BN203",
        "error" if images < HARDLY_ANY_IMAGES else "warning",
        tuple(site.path for site in sites),
        f"training normalizes by {images} image{'s' * (images != 1)}{values}: too few for a mean "
        f"and variance like those of eval mode, which 16 give",
        "larger batches, Sync() over devices, Frozen() for trained statistics, or Group()",
        f'model = bnc.prepare(model, "auto", batch_size={images}).model',
    )


def _last(sites: Sequence[Site], flat: Sequence[Site], sizes: BatchSizes) -> Iterator[Finding]:
    fix = "drop the last batch, or choose another batch size"
    if sizes.last == 1 and flat:
        message = (
            "the last batch of an epoch has one image, and these norms one value per image: "
            'training stops with "Expected more than 1 value per channel"'
        )
        paths = tuple(site.path for site in flat)
        yield Finding("BN205", "error", paths, message, fix, DROP_LAST)
    elif sizes.last == 1:
        message = (
            "the last batch of an epoch has one image, which is normalized by itself; where a norm "
            "has one value per image, training stops"
        )
        paths = tuple(site.path for site in sites)
        yield Finding("BN205", "warning", paths, message, fix, DROP_LAST)
    elif sizes.last is not None and sizes.last < _SMALL_LAST * sizes.full:
        message = (
            f"the last batch of an epoch has {sizes.last} images, the others {sizes.full}; it "
            "counts as much as they do in the running statistics, and is the last before eval"
        )
        paths = tuple(site.path for site in sites)
        yield Finding("BN311", "info", paths, message, fix, DROP_LAST)

"""What a norm does in training mode: whether it normalizes by the batch, and tracks it."""

from bnconvert.conversion.choices import SMALL
from bnconvert.modules.kinds import has_running_statistics
from bnconvert.modules.site import Site
from bnconvert.modules.tracking import reads_statistics

#: From so many images on a normalization batch is large enough; below so many it is hopeless
#: (Wu and He, "Group Normalization", 2018, figure 5: the error rises from 16 images a batch down).
ENOUGH_IMAGES, HARDLY_ANY_IMAGES = SMALL, 4


def normalizes_by_batch(site: Site) -> bool:
    """Tell whether the norm normalizes by the batch in training mode, whatever its mode is now."""
    return uses_statistics(site) and not site.kind.has_fixed_statistics


def uses_statistics(site: Site) -> bool:
    """Tell whether the norm has any use for running statistics: group norm has not."""
    return reads_statistics(site.module)


def tracks_batch(site: Site) -> bool:
    """Tell whether running statistics are updated in training mode, whatever its mode is now."""
    return (
        normalizes_by_batch(site)
        and has_running_statistics(site.module)
        and getattr(site.module, "track_running_stats", True) is not False
    )


def momentum_of(site: Site) -> float | None:
    """Return the momentum with which statistics are tracked; None where they are averaged."""
    momentum = getattr(site.module, "momentum", None)
    return None if momentum is None or not tracks_batch(site) else float(momentum)

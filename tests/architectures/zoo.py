"""All architectures: 154 real ones, traps without norms, and variants."""

from collections.abc import Sequence

from tests.architectures.architecture import Architecture
from tests.architectures.other_models import OTHERS
from tests.architectures.segmentation_models import SEGMENTATION
from tests.architectures.timm_models import TIMM, TIMM_TRAPS
from tests.architectures.torchvision_models import TORCHVISION, TORCHVISION_BACKBONES
from tests.architectures.variants import VARIANTS

REAL = (*TIMM, *TORCHVISION, *TORCHVISION_BACKBONES, *SEGMENTATION, *OTHERS)
ALL = (*REAL, *TIMM_TRAPS, *VARIANTS)
BY_NAME = {architecture.full_name: architecture for architecture in ALL}
GROUPS = tuple(dict.fromkeys(architecture.group for architecture in ALL))


def chosen(names: Sequence[str]) -> list[Architecture]:
    """Return architectures by full names, or by names that one or more groups have.

    Raises:
        KeyError: no architecture has one of the names.
    """
    found: list[Architecture] = []
    for name in names:
        matches = [a for a in ALL if name in (a.full_name, a.name)]
        if not matches:
            raise KeyError(f"{name}: there is no such model")
        found += [match for match in matches if match not in found]
    return found

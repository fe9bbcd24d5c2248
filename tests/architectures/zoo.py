"""All architectures: 154 real ones, 23 small ones of transformers, traps, variants, and 44 more."""

from collections.abc import Sequence

from tests.architectures.architecture import Architecture
from tests.architectures.families import FAMILIES
from tests.architectures.other_models import OTHERS
from tests.architectures.segmentation_models import SEGMENTATION
from tests.architectures.timm_models import TIMM, TIMM_TRAPS
from tests.architectures.torchvision_models import TORCHVISION, TORCHVISION_BACKBONES
from tests.architectures.trained_models import TRAINED
from tests.architectures.transformers_models import TRANSFORMERS
from tests.architectures.variants import VARIANTS

REAL = (*TIMM, *TORCHVISION, *TORCHVISION_BACKBONES, *SEGMENTATION, *OTHERS)
#: What tests sweep.
ALL = (*REAL, *TRANSFORMERS, *TIMM_TRAPS, *VARIANTS)
#: What only the benchmark measures.
MORE = (*FAMILIES, *TRAINED)
BY_NAME = {architecture.full_name: architecture for architecture in (*ALL, *MORE)}
GROUPS = tuple(dict.fromkeys(architecture.group for architecture in ALL))


def chosen(names: Sequence[str]) -> list[Architecture]:
    """Return architectures by full names, or by names that one or more groups have.

    Raises:
        KeyError: no architecture has one of the names.
    """
    found: list[Architecture] = []
    for name in names:
        matches = [a for a in BY_NAME.values() if name in (a.full_name, a.name)]
        if not matches:
            raise KeyError(f"{name}: there is no such model")
        found += [match for match in matches if match not in found]
    return found

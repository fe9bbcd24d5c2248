"""The normalizations, one per file: paper, formula, module and rewrite; switches for a forward."""

from bnconvert.modules.normalization import Normalization
from bnconvert.modules.rewrite import Rewrite
from bnconvert.modules.tracking import TrackingNorm
from bnconvert.norms.adaptive import Adaptive, AdaptiveNorm
from bnconvert.norms.frozen import Frozen, FrozenNorm
from bnconvert.norms.ghost import Ghost, GhostNorm
from bnconvert.norms.group import Group, GroupedNorm
from bnconvert.norms.instance import Instance, PerInstanceNorm
from bnconvert.norms.keep import Keep
from bnconvert.norms.renorm import Renorm, RenormNorm
from bnconvert.norms.separate import Separate
from bnconvert.norms.separate_norm import SeparateNorm
from bnconvert.norms.sync import Sync, SyncNorm
from bnconvert.norms.virtual import Virtual
from bnconvert.norms.virtual_norm import VirtualNorm

#: Every rewrite. The contract test runs each of them over every awkward model.
NORMS: tuple[type[Rewrite], ...] = (
    Keep,
    Frozen,
    Sync,
    Ghost,
    Virtual,
    Renorm,
    Separate,
    Adaptive,
    Group,
    Instance,
)

#: The classes of all norms that `convert` makes, for loops over the norms of a model, which would
#: miss them by looking for torch's `_BatchNorm` alone:
#: `isinstance(module, (torch.nn.modules.batchnorm._BatchNorm, *bnc.NORM_CLASSES))`.
NORM_CLASSES: tuple[type[Normalization], ...] = (
    FrozenNorm,
    SyncNorm,
    GhostNorm,
    VirtualNorm,
    RenormNorm,
    SeparateNorm,
    AdaptiveNorm,
    GroupedNorm,
    PerInstanceNorm,
    TrackingNorm,
)

"""The normalizations, one per file: paper, formula, module and rewrite; switches for a forward."""

from bnconvert.modules.rewrite import Rewrite
from bnconvert.norms.adaptive import Adaptive
from bnconvert.norms.frozen import Frozen
from bnconvert.norms.ghost import Ghost
from bnconvert.norms.group import Group
from bnconvert.norms.keep import Keep
from bnconvert.norms.renorm import Renorm
from bnconvert.norms.separate import Separate
from bnconvert.norms.sync import Sync
from bnconvert.norms.virtual import Virtual

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
)

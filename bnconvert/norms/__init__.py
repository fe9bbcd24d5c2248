"""The ways to normalize, one per file: paper, formula, module and rewrite."""

from bnconvert.norms.frozen import Frozen
from bnconvert.norms.group import Group
from bnconvert.norms.keep import Keep
from bnconvert.rewrite import Rewrite

#: Every rewrite. The contract test runs each of them over every awkward model.
NORMS: tuple[type[Rewrite], ...] = (Keep, Frozen, Group)

"""The folds, one per file: the algebra as docstring, what is matched, a plan or a refusal."""

from bnconvert.folds.affine import Affine
from bnconvert.folds.branches import Branches
from bnconvert.folds.direct import Direct
from bnconvert.folds.fold import Fold
from bnconvert.folds.forward import Forward
from bnconvert.folds.sequences import Sequences
from bnconvert.folds.split import SplitAffine
from bnconvert.folds.through import Through

#: Every fold, in the order in which they are tried.
FOLDS: tuple[Fold, ...] = (
    Direct(),
    Affine(),
    Branches(),
    Through(),
    Forward(),
    Sequences(),
    SplitAffine(),
)

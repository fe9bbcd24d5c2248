"""The folds, one per file: the algebra as docstring, what is matched, a plan or a refusal."""

from bnconvert.folding.folds.affine import Affine
from bnconvert.folding.folds.branches import Branches
from bnconvert.folding.folds.direct import Direct
from bnconvert.folding.folds.fold import Fold
from bnconvert.folding.folds.forward import Forward
from bnconvert.folding.folds.sequences import Sequences
from bnconvert.folding.folds.split import SplitAffine
from bnconvert.folding.folds.through import Through

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

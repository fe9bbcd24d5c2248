"""The folds, one per file: the algebra as docstring, match, refuse with a reason, rewrite."""

from bnconvert.folds.conv import Conv
from bnconvert.folds.conv_transpose import ConvTranspose
from bnconvert.folds.fold import Fold
from bnconvert.folds.linear import Linear

#: Every fold, in the order in which they are tried.
FOLDS: tuple[Fold, ...] = (Conv(), ConvTranspose(), Linear())

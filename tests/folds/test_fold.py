from typing import Any

import pytest

from bnconvert.folds import FOLDS
from bnconvert.folds.fold import Fold


def test_every_fold_has_a_name_of_its_own() -> None:
    names = [fold.name for fold in FOLDS]
    assert len(set(names)) == len(names)
    assert [type(fold).__name__.lower() for fold in FOLDS] == names


def test_every_fold_is_tried() -> None:
    written = [kind for kind in Fold.__subclasses__() if kind.__module__.startswith("bnconvert.")]
    assert set(written) == {type(fold) for fold in FOLDS}


def test_the_cheapest_is_tried_first_and_the_one_that_leaves_something_last() -> None:
    assert FOLDS[0].name == "direct"
    assert FOLDS[-1].name == "apart"


def test_a_fold_decides() -> None:
    incomplete: Any = type("Incomplete", (Fold,), {"name": "incomplete"})
    with pytest.raises(TypeError, match="decide"):
        incomplete()

from typing import Any

import pytest
import torch
from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.folds import FOLDS
from bnconvert.folding.folds.fold import AffineFold, Fold, eliminated
from bnconvert.folding.operators.graph_plan import Eliminated, GraphPlan


def test_every_fold_has_a_name_of_its_own() -> None:
    names = [fold.name for fold in FOLDS]
    assert len(set(names)) == len(names)
    for fold, name in zip(FOLDS, names, strict=True):
        assert type(fold).__name__.lower().startswith(name)


def test_every_fold_is_tried() -> None:
    kinds = {*Fold.__subclasses__(), *AffineFold.__subclasses__()} - {AffineFold}
    assert {kind for kind in kinds if kind.__module__.startswith("bnconvert.")} == {
        type(fold) for fold in FOLDS
    }


def test_the_cheapest_is_tried_first_and_the_one_that_leaves_something_last() -> None:
    assert FOLDS[0].name == "direct"
    assert FOLDS[-1].name == "split"


def test_a_fold_decides() -> None:
    incomplete: Any = type("Incomplete", (Fold,), {"name": "incomplete"})
    with pytest.raises(TypeError, match="decide"):
        incomplete()


def test_an_operator_is_taken_out_once_what_it_does_is_absorbed() -> None:
    graph = fx.Graph()
    norm = graph.call_function(torch.relu, (graph.placeholder("x"),))
    refusal = Refusal("no-layer-upstream", "nothing absorbs it")
    assert eliminated(norm, refusal) is refusal
    plan = eliminated(norm, GraphPlan(remarks=("absorbed",)))
    assert isinstance(plan, GraphPlan)
    assert [type(edit) for edit in plan.edits] == [Eliminated]
    assert plan.remarks == ("absorbed",)

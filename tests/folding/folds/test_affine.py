import pytest
import torch
from torch import Tensor, nn

from bnconvert.folding.folds.affine import Affine
from bnconvert.graphs.aten import aten
from tests.excerpts import Applied, Modules, function
from tests.folding.folds.solo import PLAN, Solos, seasoned

IMAGE = (2, 4, 3, 3)


def identity() -> nn.Module:
    norm = nn.BatchNorm2d(4, eps=0.0)
    norm.get_buffer("running_var").fill_(1.0)
    return nn.Sequential(norm)


def norms(count: int) -> nn.Module:
    return nn.Sequential(*(nn.BatchNorm2d(4) for _ in range(count)), nn.ReLU())


solo = Solos(
    {
        "two": seasoned(lambda: norms(2), IMAGE),
        "three": seasoned(lambda: norms(3), IMAGE),
        "mixed": seasoned(
            lambda: Applied(
                lambda m, x: torch.relu(m.k - m.norm(x * 2 + 1)),
                norm=nn.BatchNorm2d(4),
                k=nn.Parameter(torch.randn(4, 1, 1)),
            ),
            IMAGE,
        ),
        "other_axes": seasoned(
            lambda: Applied(
                lambda m, x: m.norm(x) * m.k,
                norm=nn.BatchNorm2d(4),
                k=nn.Parameter(torch.randn(3, 1)),
            ),
            IMAGE,
        ),
        "identity": function(lambda x: torch.relu((x + 0) * 1), IMAGE),
        "opposite": function(lambda x: torch.relu(-x.neg()), IMAGE),
        "two_readers": seasoned(
            lambda: Applied(
                lambda m, x: both(m, m.first(x)), first=nn.BatchNorm2d(4), second=nn.BatchNorm2d(4)
            ),
            IMAGE,
        ),
        "huge": function(lambda x: (x * 1e200) * 1e200, IMAGE),
        "activated": function(lambda x: torch.relu(torch.relu(x * 2) * 3), IMAGE),
    }
)


def both(m: Modules, y: Tensor) -> tuple[Tensor, Tensor]:
    return m.second(y), y


@pytest.mark.parametrize("name", ["two", "three"])
def test_norms_in_a_row_become_one(name: str) -> None:
    assert solo.verdict(Affine(), name, at=1) == PLAN
    assert solo.verdict(Affine(), name, at=0) is None
    assert solo.done(name, Affine()).operators == ["batch_norm", "relu"]


def test_the_one_that_is_left_is_known_as_the_place_of_the_others() -> None:
    done = solo.done("two", Affine())
    assert done.calls[1].fold == "affine"
    assert done.calls[1].reason == "into 0 (batch_norm)"


def test_factors_and_summands_are_links_of_a_chain_too() -> None:
    assert solo.done("mixed", Affine()).operators == ["batch_norm", "relu"]


def test_maps_along_different_axes_become_one_multiplication_and_one_addition() -> None:
    assert solo.done("other_axes", Affine()).operators == ["mul", "add"]


def test_what_changes_nothing_vanishes() -> None:
    assert solo.verdict(Affine(), "identity", aten.mul.Tensor) == PLAN
    assert solo.done("identity", Affine()).operators == ["relu"]
    assert solo.done("opposite", Affine()).operators == ["relu"]


def test_a_map_that_others_read_too_stays() -> None:
    assert solo.verdict(Affine(), "two_readers", at=1) is None
    assert solo.done("two_readers", Affine()).operators == ["batch_norm"] * 2


def test_two_maps_that_overflow_together_stay_two() -> None:
    assert solo.verdict(Affine(), "huge", aten.mul.Tensor, at=1) == (
        "the two maps in a row leave the range of torch.float64"
    )


def test_it_is_not_about_what_is_no_map() -> None:
    assert solo.verdict(Affine(), "activated", aten.relu.default) is None
    assert solo.verdict(Affine(), "activated", aten.mul.Tensor, at=1) is None

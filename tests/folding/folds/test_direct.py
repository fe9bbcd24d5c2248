import pytest
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.folding.folds.direct import Direct
from bnconvert.graphs.aten import aten
from tests.excerpts import Applied, Modules
from tests.folding.folds.solo import PLAN, Solos, seasoned

SERIES, IMAGE, VOLUME, ROWS = (2, 3, 6), (2, 3, 6, 5), (2, 3, 4, 5, 4), (2, 3)
OPERATOR_RULES = {
    "conv1d": seasoned(lambda: pair(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), SERIES),
    "conv2d": seasoned(lambda: pair(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)), IMAGE),
    "conv3d": seasoned(lambda: pair(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4)), VOLUME),
    "conv_transpose2d": seasoned(
        lambda: pair(nn.ConvTranspose2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)), IMAGE
    ),
    "linear": seasoned(lambda: pair(nn.Linear(3, 5, bias=False), nn.BatchNorm1d(5)), ROWS),
}


def pair(layer: nn.Module, norm: nn.Module) -> nn.Module:
    return Applied(lambda m, x: m.norm(m.layer(x)), layer=layer, norm=norm)


def both(m: Modules, x: Tensor) -> tuple[Tensor, Tensor]:
    y = m.layer(x)
    return m.norm(y), y


def convolution() -> dict[str, nn.Module]:
    return {"layer": nn.Conv2d(3, 3, 1), "norm": nn.BatchNorm2d(3)}


solo = Solos(
    {
        **OPERATOR_RULES,
        "two_norms": seasoned(
            lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)), IMAGE
        ),
        "constants": seasoned(
            lambda: Applied(lambda m, x: m.norm(2 * m.layer(x) - 1), **convolution()), IMAGE
        ),
        "called_twice": seasoned(
            lambda: Applied(
                lambda m, x: m.norm(m.layer(F.relu(m.norm(m.layer(x))))), **convolution()
            ),
            IMAGE,
        ),
        "read_elsewhere": seasoned(lambda: Applied(both, **convolution()), IMAGE),
        "sequences": seasoned(lambda: pair(nn.Linear(5, 6), nn.BatchNorm1d(3)), (2, 3, 5)),
        "activated": seasoned(
            lambda: Applied(lambda m, x: m.norm(F.relu(m.layer(x))), **convolution()), IMAGE
        ),
        "alone": seasoned(lambda: nn.Sequential(nn.BatchNorm2d(3)), IMAGE),
        "computed": seasoned(
            lambda: Applied(
                lambda m, x: F.batch_norm(
                    m.layer(x), m.norm.running_mean, m.norm.running_var, x.mean((0, 2, 3))
                ),
                **convolution(),
            ),
            IMAGE,
        ),
    }
)


@pytest.mark.parametrize("name", OPERATOR_RULES)
def test_a_norm_goes_into_the_layer_behind_which_it_stands(name: str) -> None:
    assert solo.verdict(Direct(), name) == PLAN
    done = solo.done(name, Direct())
    assert done.operators == [name]
    assert done.outcomes == [f"direct: into layer ({name})"]
    assert set(done.module.state_dict()) == {"layer.weight", "layer.bias"}


def test_norms_in_a_row_go_one_after_the_other() -> None:
    assert solo.verdict(Direct(), "two_norms", at=1) is None
    done = solo.done("two_norms", Direct())
    assert done.operators == ["conv2d"]
    assert done.outcomes == ["direct: into 0 (conv2d)"] * 2


def test_factors_and_summands_go_too() -> None:
    assert solo.verdict(Direct(), "constants", aten.mul.Tensor) == PLAN
    assert solo.done("constants", Direct()).operators == ["conv2d"]


def test_a_layer_that_is_called_twice_gets_its_weights_back_as_one() -> None:
    done = solo.done("called_twice", Direct())
    assert done.operators == ["conv2d", "relu", "conv2d"]
    assert len(done.module.state_dict()) == 2
    assert done.outcomes == ["direct: into layer (conv2d)"] * 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("read_elsewhere", "its input is also read by the model's output"),
        (
            "sequences",
            "a linear layer on 3 axes: its features are the last axis, the norm normalizes axis 1",
        ),
        ("computed", "its statistics, weight or bias are computed in the forward, not stored"),
    ],
)
def test_a_norm_that_stands_has_a_reason(name: str, reason: str) -> None:
    assert solo.verdict(Direct(), name) == reason
    done = solo.done(name, Direct())
    assert "batch_norm" in done.operators
    assert done.outcomes == [f"standing: {reason}"]


def test_it_is_not_about_norms_behind_anything_else() -> None:
    assert solo.verdict(Direct(), "activated") is None
    assert solo.verdict(Direct(), "alone") is None
    assert solo.verdict(Direct(), "conv2d", aten.conv2d.default) is None
    assert solo.verdict(Direct(), "activated", aten.relu.default) is None

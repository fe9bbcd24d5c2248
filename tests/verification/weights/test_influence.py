"""Which weights move which values: by gradients, for norms by what they return."""

import pytest
import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example
from bnconvert.verification.weights.influence import GradientRun, weight_names, weights_of
from tests.zoo import trained

X = Example.of((torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)),))


class Two(nn.Module):
    """Two branches, of which each output has one, and a norm without affine parameters."""

    def __init__(self, affine: bool = True) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(3, affine=affine)
        self.left, self.right = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.relu_(self.first(x))
        return self.left(y), self.right(y) - 1e9


LEFT, RIGHT = {"left.weight", "left.bias"}, {"right.weight", "right.bias"}


@pytest.mark.parametrize("affine", [True, False])
def test_an_output_is_moved_by_the_weights_that_it_is_computed_from(affine: bool) -> None:
    model = trained(Two(affine))
    run = GradientRun.of(model, X)
    assert set(weight_names(model)) == {"first", *LEFT, *RIGHT}
    assert run.moving([run.outputs[0]]) == {"first", *LEFT}
    assert run.moving([run.outputs[1]]) == {"first", *RIGHT}
    assert run.moving([]) == set()


@pytest.mark.parametrize("affine", [True, False])
def test_frozen_weights_move_outputs_as_others_do(affine: bool) -> None:
    model = trained(Two(affine)).requires_grad_(False)
    run = GradientRun.of(model, X)
    assert run.moving([run.outputs[0]]) == {"first", *LEFT}
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_what_modules_return_is_kept_where_it_is_asked_for() -> None:
    model = trained(Two())
    run = GradientRun.of(model, X, inner=True)
    assert {place[0] for place in run.values} == {"", "first", "left", "right"}
    assert run.moving([run.inner["first", 0, 0]]) == {"first"}
    before = model.first(*X.args)
    assert torch.equal(run.values["first", 0, 0], before), "the activation overwrites a copy"


def test_the_values_of_another_copy_are_computed_without_projections() -> None:
    model = trained(Two())
    values = GradientRun.values_of(model, X)
    run = GradientRun.of(model, X, inner=True)
    assert values.keys() == run.values.keys() == run.inner.keys()
    assert all(torch.equal(values[place], run.values[place]) for place in values)


def test_entries_that_are_not_finite_are_left_out() -> None:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.bias[0] = float("inf")
    run = GradientRun.of(model, Example.of((torch.ones(1, 3),)))
    assert torch.isfinite(run.outputs[0])
    assert run.moving([run.outputs[0]]) == {"weight", "bias"}, "by the other entry"


def test_a_norm_is_all_that_it_holds() -> None:
    model = trained(Two())
    assert [t.shape for t in weights_of(model, ["first"])] == [torch.Size([3])] * 4
    assert weights_of(model, ["left.bias"])[0] is model.left.bias


def test_the_model_is_as_it_was() -> None:
    model = trained(Two())
    model.left.weight.requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    GradientRun.of(model, X, inner=True)
    with pytest.raises(RuntimeError):
        GradientRun.of(model, Example.of((torch.randn(2, 5, 6, 6),)))
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_weights_upstream_of_what_is_dead_move_nothing() -> None:
    first = nn.Linear(3, 4)
    nn.init.constant_(first.bias, -1e9)
    model = nn.Sequential(first, nn.ReLU(), nn.Linear(4, 2))
    run = GradientRun.of(model, Example.of((torch.randn(2, 3),)))
    # The last weight is multiplied by zeros: only its bias is left.
    assert run.moving([run.outputs[0]]) == {"2.bias"}

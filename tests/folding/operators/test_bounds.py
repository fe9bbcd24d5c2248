import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.zoo import IMAGE, trained


class Bounded(nn.Module):
    """A convolution, a norm and a convolution, with a bound that moves past the norm or not."""

    def __init__(self, *, negative: bool = False, late: bool = False) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
        self.cap = nn.Buffer(torch.linspace(0.1, 0.9, 8).reshape(8, 1, 1))
        self.late = late
        trained(self)
        with torch.no_grad():
            self.norm.weight.abs_()
            if negative:
                self.norm.weight[0] *= -1

    def forward(self, x: Tensor) -> Tensor:
        if self.late:  # the norm before the bound can only go down through it
            x = torch.maximum(self.norm(torch.sigmoid(self.first(x))), self.cap)
        else:
            x = self.norm(torch.minimum(self.cap, self.first(x)))
        y: Tensor = self.last(x)
        return y


def test_a_norm_after_a_bound_goes_up_through_it() -> None:
    model = Bounded().double().eval()
    inputs = (IMAGE[0].double(),)
    folded = bnc.fold(model, inputs)
    assert folded.report.norms[0].outcome == "folded"
    torch.testing.assert_close(folded.module(*inputs), model(*inputs))


def test_a_norm_before_a_bound_goes_down_through_it() -> None:
    model = Bounded(late=True).double().eval()
    inputs = (IMAGE[0].double(),)
    folded = bnc.fold(model, inputs)
    assert folded.report.norms[0].fold == "forward"
    torch.testing.assert_close(folded.module(*inputs), model(*inputs))


def test_a_negative_scale_does_not_pass_a_bound() -> None:
    inputs = (IMAGE[0],)
    up = bnc.fold(Bounded(negative=True), inputs).report.norms[0]
    assert (up.outcome, up.fold) == ("folded", "forward")  # past the bound into the last layer
    down = bnc.fold(Bounded(negative=True, late=True), inputs).report.norms[0]
    assert down.outcome == "standing"
    assert "scale-not-positive" in down.codes


class Capped(nn.Module):
    """A bound without axes in another dtype, which takes part in no promotion."""

    def __init__(self, dtype: torch.dtype, *, is_last: bool) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
        self.cap, self.is_last = nn.Buffer(torch.tensor(0.5, dtype=dtype)), is_last
        trained(self)
        with torch.no_grad():
            self.norm.weight.abs_()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.minimum(self.first(x), self.cap))
        return x if self.is_last else self.last(x)


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize(
    ("dtype", "other"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float64)]
)
def test_a_bound_without_axes_takes_the_dtype_of_what_it_bounds(
    dtype: torch.dtype, other: torch.dtype, is_last: bool
) -> None:
    model, x = Capped(other, is_last=is_last).eval(), IMAGE[0].to(dtype)
    for layer in (model.first, model.norm, model.last):
        layer.to(dtype)
    folded = bnc.fold(model, (x,))
    assert folded.report.norms[0].outcome == "folded"
    torch.testing.assert_close(folded.module(x), model(x), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(("mean", "folds"), [(3.0, True), (1e6, False)])
def test_an_addition_that_would_hide_the_bound_does_not_pass_it(mean: float, folds: bool) -> None:
    model = Bounded(late=True).eval()
    with torch.no_grad():
        model.norm.get_buffer("running_mean").fill_(mean)
        model.norm.get_parameter("weight").fill_(1.0)
        model.norm.get_parameter("bias").fill_(0.0)
        model.norm.get_buffer("running_var").fill_(1.0)
        model.norm.eps = 1e-30  # torch 2.11 refuses 0
    inputs = (IMAGE[0],)
    folded = bnc.fold(model, inputs)
    (row,) = folded.report.norms
    assert (row.outcome == "folded") is folds
    torch.testing.assert_close(folded.module(*inputs), model(*inputs))

import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example
from bnconvert.numerics.distance import relative_error
from bnconvert.verification.references.reference import Reference
from bnconvert.verification.rounding.lowered_precision import BFLOAT16, FLOAT16, INT8, Precision
from tests.zoo import Net, trained

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def native(precision: Precision | None) -> Tensor:
    torch.manual_seed(0)
    return Reference(trained(Net()), precision=precision).answers(Example.of((X,))).native[0]


def test_a_model_is_rounded_as_it_would_be_in_that_precision() -> None:
    torch.manual_seed(0)
    model = trained(Net())
    exact = model(X).detach()
    for precision in (FLOAT16, BFLOAT16):
        assert precision.dtype is not None
        rounded = native(precision)
        assert rounded.dtype is precision.dtype
        own = relative_error(model.to(precision.dtype)(X.to(precision.dtype)), exact, "norm")
        assert 0.5 * own < relative_error(rounded, exact, "norm") < 2 * own
        model.float()
    assert 1e-3 < relative_error(native(INT8), exact, "norm") < 0.05
    assert native(INT8).dtype is torch.float32


def test_what_is_written_in_place_is_rounded_too() -> None:
    with FLOAT16.lowering():
        x = torch.ones(2, 2)
        x.view(-1).add_(1e-4)
    assert torch.equal(x, torch.ones(2, 2))
    with FLOAT16.lowering():
        assert torch.equal(torch.tensor([3]) * 2, torch.tensor([6]))


def test_only_a_precision_below_the_models_own_counts() -> None:
    assert FLOAT16.is_lower_than(nn.Linear(2, 2))
    assert not FLOAT16.is_lower_than(nn.Linear(2, 2).half())
    assert BFLOAT16.is_lower_than(nn.Linear(2, 2).half())
    assert INT8.is_lower_than(nn.Linear(2, 2).bfloat16().half())
    assert Reference(nn.Linear(2, 2).half(), precision=FLOAT16).precision is None

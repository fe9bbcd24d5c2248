"""Full float32, whichever of torch's two kinds of settings lowers it; after, both are as before."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bnconvert.numerics.float32_precision import full_float32

backends: Any = torch.backends
A, B = torch.randn(2, 128, 128, generator=torch.Generator().manual_seed(0))


def newer() -> list[str]:
    parts: list[Any] = [backends, backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    parts += [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
    return [part.fp32_precision for part in parts]


def older() -> list[object]:
    found: list[object] = []
    for read in (torch.get_float32_matmul_precision, lambda: backends.cudnn.allow_tf32):
        try:
            found.append(read())
        except RuntimeError:
            found.append("they differ")
    return found


@pytest.fixture(autouse=True)
def _unchanged() -> Iterator[None]:
    generic = backends.fp32_precision
    found = [(part, part.fp32_precision) for part in (backends.mkldnn.conv, backends.mkldnn.matmul)]
    yield
    backends.fp32_precision = generic
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = True
    for part, precision in found:
        part.fp32_precision = precision


def medium() -> None:
    torch.set_float32_matmul_precision("medium")


def product_in_bfloat16() -> None:
    backends.mkldnn.matmul.fp32_precision = "bf16"


def convolution_in_bfloat16() -> None:
    backends.mkldnn.conv.fp32_precision = "bf16"


def everything_in_tf32() -> None:
    backends.fp32_precision = "tf32"


def older_and_newer() -> None:
    backends.cudnn.allow_tf32 = False
    backends.cudnn.conv.fp32_precision = "tf32"


SETTINGS = medium, product_in_bfloat16, convolution_in_bfloat16, everything_in_tf32, older_and_newer
every = pytest.mark.parametrize("lowered", SETTINGS, ids=lambda f: f.__name__)


def error(of: Callable[[Tensor, Tensor], Tensor]) -> float:
    difference = of(A, B).double() - of(A.double(), B.double())
    return float(difference.abs().max())


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x.reshape(1, 16, 32, 32), weight.reshape(-1, 16, 4, 4))


@every
@pytest.mark.parametrize("of", [torch.matmul, convolved], ids=["product", "convolution"])
def test_inside_operators_are_as_exact_as_by_default(
    lowered: Callable[[], None], of: Callable[[Tensor, Tensor], Tensor]
) -> None:
    usual = error(of)
    lowered()
    with full_float32():
        assert error(of) < 2 * usual
        assert set(newer()[1:]) <= {"none", "ieee"}


@every
def test_afterwards_every_setting_is_as_it_was(lowered: Callable[[], None]) -> None:
    lowered()
    before = newer(), older()
    with full_float32():
        pass
    assert (newer(), older()) == before
    with pytest.raises(KeyError), full_float32():
        raise KeyError
    assert (newer(), older()) == before


def test_afterwards_an_operator_follows_the_setting_of_all_as_before() -> None:
    everything_in_tf32()
    with full_float32():
        pass
    backends.fp32_precision = "ieee"
    assert newer() == ["ieee"] * 7


def test_inside_the_older_settings_can_be_read() -> None:
    with full_float32():
        assert older() == ["highest", False]

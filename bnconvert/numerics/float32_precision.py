"""Full float32 precision, where the process allows its operators less.

`torch.set_float32_matmul_precision("medium")`, which training frameworks advise, has products of
float32 matrices computed in bfloat16, also on CPUs that can; convolutions on CUDA devices use TF32
unless that is turned off. Such a model is thousands of times as far from float64 as its file in
ONNX Runtime: as a measure of what rounding excuses it would excuse anything.
"""

import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import backends

_FULL = "none", "ieee"


def _operators() -> list[Any]:
    """Return torch's settings, one for each library and kind of operator."""
    cuda, cudnn, mkldnn = typing.cast(Any, (backends.cuda, backends.cudnn, backends.mkldnn))
    return [cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn]


@contextmanager
def full_float32() -> Iterator[None]:
    """Have what is float32 computed in float32, for this context.

    torch keeps the settings twice, and refuses to read the older ones where both differ; so both
    are set, the older first, which writes into the others.
    """
    operators = _operators()
    found = [operator.fp32_precision for operator in operators]
    products, convolutions = _read(torch.get_float32_matmul_precision), _read(_cudnn)
    try:
        torch.set_float32_matmul_precision("highest")
        backends.cudnn.allow_tf32 = False
        for operator in operators:
            if operator.fp32_precision not in _FULL:
                operator.fp32_precision = "ieee"
        yield
    finally:
        if products is not None:
            torch.set_float32_matmul_precision(products)
        if convolutions is not None:
            backends.cudnn.allow_tf32 = convolutions
        for operator, precision in zip(operators, found, strict=True):
            operator.fp32_precision = "none"  # what it has from the settings of several operators
            if operator.fp32_precision != precision:
                operator.fp32_precision = precision


def _cudnn() -> bool:
    return bool(backends.cudnn.allow_tf32)


def _read(setting: Callable[[], Any]) -> Any:
    """Return one of the older settings; None where it differs from the newer ones."""
    try:
        return setting()
    except RuntimeError:
        return None

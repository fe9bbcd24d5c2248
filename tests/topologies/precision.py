"""Other dtypes than float32, and numbers near their limits."""

from typing import Any

import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.topologies.layers import normed
from tests.topologies.topology import Topology

HALF, BFLOAT = torch.float16, torch.bfloat16


def _conv(**options: Any) -> nn.Module:
    return normed(nn.Conv2d(4, 6, 3, **options)).append(nn.ReLU())


def _wide_norm(model: Any) -> None:
    model[1].float()


def _set(**values: float) -> Any:
    """Return an adjustment that sets tensors of the norm, by name."""

    def adjust(model: Any) -> None:
        for name, value in values.items():
            getattr(model[1], name).fill_(value)

    return adjust


def _overflowing(model: Any) -> None:
    model[0].weight.fill_(300.0)
    _set(running_var=1e-4, weight=4.0, running_mean=0.0)(model)


def _wide_norm_of_large_variance(model: Any) -> None:
    _wide_norm(model)
    _set(running_var=1e6)(model)


class MixedNorm(nn.Module):
    """A half convolution whose output is widened for the norm, as Apex does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x).to(self.norm.weight.dtype))
        return y


def rounded(name: str, dtype: torch.dtype, adjust: Any = None, **options: Any) -> Topology:
    """Return a convolution, a norm and a ReLU in another dtype, or with other numbers."""
    return Topology(name, **{"build": _conv, "dtype": dtype, "adjust": adjust, **options})


TOPOLOGIES = (
    rounded("double_conv_bn", torch.float64, unexportable=bnc.ExportError),
    rounded("half_conv_bn", HALF),
    rounded("bf16_conv_bn", BFLOAT, unexportable=bnc.ExportError),
    rounded("conv_bf16_bn_fp32", BFLOAT, _wide_norm, unexportable=bnc.ExportError),
    rounded("conv_half_bn_fp32", HALF, _wide_norm),
    rounded(  # in float16 the widening stands between them
        "conv_half_widened_bn", HALF, lambda model: model.norm.float(), build=MixedNorm, gone=None
    ),
    rounded(  # infinity is what 1e6 is in float16: nothing moves the output
        "half_var_1e6",
        HALF,
        _set(running_var=float("inf")),
        unexportable=bnc.InconclusiveError,
    ),
    rounded("half_var_1e6_fp32_norm", HALF, _wide_norm_of_large_variance),
    rounded("half_var_1e_8", HALF, _set(running_var=1e-8)),
    rounded("half_large_mean", HALF, _set(running_mean=50.0)),
    rounded(  # in float64 it folds
        "half_overflowing_weight",
        HALF,
        _overflowing,
        gone=None,
        unexportable=bnc.InconclusiveError,
    ),
    rounded("conv_bn_var_1e_8", torch.float32, _set(running_var=1e-8)),
    rounded("conv_bn_var_1e6", torch.float32, _set(running_var=1e6)),
    rounded("conv_bn_large_mean", torch.float32, _set(running_mean=1e4)),
    rounded(  # nothing moves the output
        "conv_bn_gamma_zero",
        torch.float32,
        _set(weight=0.0, running_var=0.0),
        unexportable=bnc.InconclusiveError,
    ),
    rounded("half_linear_bn", HALF, build=lambda: normed(nn.Linear(5, 7)), shapes=((2, 5),)),
)

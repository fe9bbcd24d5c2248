"""A restored norm: measured as a probe that changes nothing, then built to be the identity."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from bnconvert.conversion.restoring.restore_plan import RestoreDecision
from bnconvert.errors import StatisticsError
from bnconvert.modules.kinds import norms_in
from bnconvert.modules.modes import kept_modes
from bnconvert.modules.normalized_layer import (
    TRANSPOSED,
    channels_after,
    norm_after,
    only_adds_bias,
    spatial_axes,
)
from bnconvert.numerics.linear_maps import linear_with_output_map, transposed_with_output_map


class Probe(_BatchNorm):
    """Is measured like a batch norm, and lets every value through unchanged.

    So the layers downstream see what the folded model gives them, whatever was measured.
    """

    def __init__(self, decision: RestoreDecision, eps: float) -> None:
        """Make the probe of a layer that gets a norm with that eps."""
        weight: Any = decision.layer.weight
        channels = channels_after(decision.layer)
        super().__init__(channels, eps, affine=False, device=weight.device, dtype=weight.dtype)
        self.path = decision.path or "(root)"
        self.axes = 2 + spatial_axes(decision.layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input.

        Raises:
            StatisticsError: it has other axes than a batch of the layer's outputs.
        """
        if x.dim() != self.axes:
            raise StatisticsError(
                f"{self.path}: its output has the shape {tuple(x.shape)}, and a batch norm after "
                f"it takes {self.axes} axes, the channels second; give batches of samples, or "
                f"layers={{{self.path!r}: False}}"
            )
        F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)
        return x


@dataclass(frozen=True, eq=False)
class RestoredNorm:
    """A batch norm that undoes itself in eval mode, and the layer's parameters before it.

    Attributes:
        norm: the batch norm.
        has_bias: whether the layer keeps its bias.
        weight: the layer's new weight, or None where it keeps its own.
    """

    norm: nn.Module
    has_bias: bool
    weight: nn.Parameter | None = None


def restored_norm(decision: RestoreDecision, probe: Probe, eps: float) -> RestoredNorm:
    """Return a norm with which a layer computes in eval mode what it did without.

    With z the output without its bias b, and m, v the mean and variance of z + b over the data:
    sqrt(v + eps) * (z - (m - b)) / sqrt(v + eps) + m = z + b. Where the scale s by which folding
    multiplied the weight is known, the weight is divided by it: of z / s the mean is (m - b) / s
    and the variance v / s^2, and the norm's weight is s * sqrt(v / s^2 + eps).
    """
    if not probe.num_batches_tracked:
        raise StatisticsError(
            f"{probe.path}: no batch reached it, so that there is nothing to measure; give "
            f"batches that do, or layers={{{probe.path!r}: False}}"
        )
    layer, former = decision.layer, decision.former
    norm, bias = norm_after(layer, eps), layer.bias
    is_absorbed = isinstance(bias, Tensor) and only_adds_bias(layer)
    with torch.no_grad():
        var = probe.get_buffer("running_var").double()
        mean = probe.get_buffer("running_mean").double()
        shift = bias.double() if isinstance(bias, Tensor) and is_absorbed else 0.0
        scale = torch.ones_like(var) if former is None else former.divisor.to(var.device)
        norm.get_buffer("running_mean").copy_((mean - shift) / scale)
        norm.get_buffer("running_var").copy_(var / scale**2)
        norm.get_buffer("num_batches_tracked").copy_(probe.num_batches_tracked)
        norm.weight.copy_(scale * (var / scale**2 + eps).sqrt())
        norm.bias.copy_(norm.get_buffer("running_mean").double() * scale + shift)
    if former is None:
        return RestoredNorm(norm, not is_absorbed)
    norm.momentum = former.momentum
    return RestoredNorm(norm, has_bias=False, weight=_divided(layer, scale))


def _divided(layer: nn.Module, scale: Tensor) -> nn.Parameter:
    """Return a layer's weight with each output channel divided by its scale."""
    weight: Any = layer.weight
    inverse, zero = 1 / scale, torch.zeros_like(scale)
    with torch.no_grad():
        if isinstance(layer, TRANSPOSED):
            groups: Any = layer.groups
            new, _ = transposed_with_output_map(weight.double(), None, inverse, zero, groups)
        else:
            new, _ = linear_with_output_map(weight.double(), None, inverse, zero)
    return nn.Parameter(new.to(weight), requires_grad=weight.requires_grad)


@contextmanager
def only_measuring(model: nn.Module) -> Iterator[None]:
    """Let the statistics of probes be measured, and those of other norms be left alone.

    That is what `recompute_statistics` does with norms in eval mode in a model in training mode.
    """
    switched = (model, *(norm for _, norm, _ in norms_in(model)))
    with kept_modes(switched):
        for module in switched:
            module.training = module is model or isinstance(module, Probe)
        yield

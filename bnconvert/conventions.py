"""Other frameworks' batch norm tensors and hyperparameters, in torch's convention.

| framework | names | momentum is the share of | defaults |
|---|---|---|---|
| torch | weight, bias, running_mean, running_var | the new value | 0.1, eps 1e-5 |
| Keras, TensorFlow | gamma, beta, moving_mean, moving_variance | the old value | 0.99, 1e-3 |
| MXNet | gamma, beta, moving_mean, moving_var; fix_gamma: gamma is 1 | the old value | 0.9, 1e-3 |
| Caffe | sums of mean and variance, and scale_factor; a Scale layer | the old value | 0.999, 1e-5 |
| Flax | scale, bias, mean, var | the old value | 0.99, 1e-5 |
| Paddle | weight, bias, _mean, _variance | the old value | 0.9, 1e-5 |

The variance is taken as it is, since eval divides by it, and another number would be another
function. In training torch and Caffe keep the unbiased variance, Flax and others the biased one,
and some kernels of one framework differ: `unbiased_variance` and `biased_variance` convert, by the
number of values per channel.

Examples:
    >>> tensors = {"moving_mean": torch.zeros(8), "moving_variance": torch.ones(8)}
    >>> state = bnc.conventions.keras(tensors, momentum=0.75)
    >>> state.momentum, state.eps
    (0.25, 0.001)
    >>> state.load_into(nn.BatchNorm2d(8, affine=False))
    >>> bnc.conventions.mxnet(tensors | {"moving_var": torch.ones(8)}, fix_gamma=True)
    Traceback (most recent call last):
    bnconvert.errors.ConventionError: keys unknown: moving_variance; ...
    >>> blobs = {"mean": torch.tensor([6.0]), "variance": torch.tensor([2.0])}
    >>> bnc.conventions.caffe(blobs | {"scale_factor": torch.tensor([2.0])}).tensors["running_mean"]
    tensor([3.])
    >>> moments = {"mean": torch.zeros(8), "var": torch.ones(8)}
    >>> bnc.conventions.flax(moments).eps, bnc.conventions.unbiased_variance(torch.ones(1), 5)
    (1e-05, tensor([1.2500]))
    >>> moments = {"_mean": torch.zeros(8), "_variance": torch.ones(8)}
    >>> bnc.conventions.paddle(moments).eps, bnc.conventions.biased_variance(torch.ones(1), 4)
    (1e-05, tensor([0.7500]))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from bnconvert.errors import ConventionError

_MEAN, _VAR = "running_mean", "running_var"


@dataclass(frozen=True, eq=False)
class NormState:
    """A batch norm in torch's convention.

    Attributes:
        tensors: weight, bias, running_mean and running_var, those that were given.
        momentum: the share of the new value in an update.
        eps: added to the variance.
    """

    tensors: dict[str, Tensor]
    momentum: float
    eps: float

    def load_into(self, norm: _NormBase) -> None:
        """Copy everything into a torch batch norm of the same channels.

        Raises:
            ConventionError: a tensor is missing, is too many, or has another shape.
        """
        state = {name: t for name, t in norm.state_dict().items() if "." not in name}
        expected = set(state) - {"num_batches_tracked"}
        if expected != set(self.tensors):
            raise ConventionError(
                f"the norm has {', '.join(sorted(expected)) or 'no tensor'} and the checkpoint "
                f"{', '.join(sorted(self.tensors))}; {_remedy(self.tensors, norm.num_features)}"
            )
        given = {name: _vector(tensor) for name, tensor in self.tensors.items()}
        for name, tensor in given.items():
            if state[name].shape != tensor.shape:
                raise ConventionError(
                    f"{name} has shape {tuple(self.tensors[name].shape)} and the norm "
                    f"{norm.num_features} channels; give the norm that it belongs to"
                )
        norm.load_state_dict({**state, **given})
        norm.eps, norm.momentum = self.eps, self.momentum
        for inner in norm.modules():  # further domains of a norm, which have them too
            if isinstance(inner, _NormBase):
                inner.eps, inner.momentum = self.eps, self.momentum


def _remedy(tensors: Mapping[str, Tensor], channels: int) -> str:
    """Return how to make the norm that has these tensors, or the tensors that a norm has."""
    scaled, shifted = "weight" in tensors, "bias" in tensors
    if scaled != shifted:  # torch 2.12 and older have no norm with one of them
        numbers, name = ("zeros", "beta (bias)") if scaled else ("ones", "gamma (scale, weight)")
        return f"add torch.{numbers}({channels}) to the tensors, as {name}"
    norm = f"torch.nn.BatchNorm2d({channels}{'' if scaled else ', affine=False'})"
    return f"make the norm as {norm}, or that of your dimensions"


def _vector(tensor: Tensor) -> Tensor:
    """Return a tensor of one axis: what was saved to broadcast, (1, 1, 1, C) or (C, 1, 1)."""
    return tensor.flatten() if tensor.numel() == max(tensor.shape, default=0) else tensor


def keras(
    tensors: Mapping[str, Any], *, momentum: float = 0.99, epsilon: float = 1e-3
) -> NormState:
    """Convert a Keras or TensorFlow batch norm: gamma, beta, moving_mean, moving_variance.

    Args:
        tensors: by name; gamma and beta may be missing (scale=False, center=False).
        momentum: Keras', the share of the old value.
        epsilon: added to the variance.

    Raises:
        ConventionError: a key is unknown or missing.
    """
    names = {"gamma": "weight", "beta": "bias", "moving_mean": _MEAN, "moving_variance": _VAR}
    return NormState(_renamed(tensors, names), _new_share(momentum), epsilon)


def mxnet(
    tensors: Mapping[str, Any], *, fix_gamma: bool, momentum: float = 0.9, eps: float = 1e-3
) -> NormState:
    """Convert an MXNet batch norm: gamma, beta, and moving_ or running_ mean and var.

    Args:
        tensors: by name.
        fix_gamma: the operator's setting, by default true in MXNet's symbols and false in Gluon:
            gamma is then 1, whatever the checkpoint holds.
        momentum: MXNet's, the share of the old value.
        eps: added to the variance; Gluon's default is 1e-5.

    Raises:
        ConventionError: a key is unknown or missing.
    """
    names = {"gamma": "weight", "beta": "bias"}
    prefix = "running" if any(key.startswith("running") for key in tensors) else "moving"
    names |= {f"{prefix}_mean": "running_mean", f"{prefix}_var": "running_var"}
    state = _renamed(tensors, names)
    if fix_gamma:
        state["weight"] = torch.ones_like(state["running_mean"])
    return NormState(state, _new_share(momentum), eps)


def caffe(
    tensors: Mapping[str, Any], *, moving_average_fraction: float = 0.999, eps: float = 1e-5
) -> NormState:
    """Convert Caffe's BatchNorm and Scale layers: mean, variance, scale_factor; weight, bias.

    Caffe keeps sums; mean and variance are those divided by scale_factor (0 means no data, and
    gives 0, as in Caffe).

    Args:
        tensors: BatchNorm's three blobs as mean, variance and scale_factor, and, where a Scale
            layer follows, its blobs as weight and bias.
        moving_average_fraction: Caffe's, the share of the old value.
        eps: added to the variance.

    Raises:
        ConventionError: a key is unknown or missing.
    """
    kept = ("scale_factor", "weight", "bias")
    names = {"mean": _MEAN, "variance": _VAR} | {name: name for name in kept}
    state = _renamed(tensors, names, required=("mean", "variance", "scale_factor"))
    factor = state.pop("scale_factor").double().reshape(())
    share = torch.where(factor == 0, torch.zeros_like(factor), 1 / factor)
    for name in ("running_mean", "running_var"):
        state[name] = (state[name].double() * share).to(state[name].dtype)
    return NormState(state, _new_share(moving_average_fraction), eps)


def flax(tensors: Mapping[str, Any], *, momentum: float = 0.99, epsilon: float = 1e-5) -> NormState:
    """Convert a Flax batch norm: scale and bias of `params`, mean and var of `batch_stats`.

    Args:
        tensors: both collections of the layer, merged.
        momentum: Flax's, the share of the old value.
        epsilon: added to the variance.

    Raises:
        ConventionError: a key is unknown or missing.
    """
    names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return NormState(_renamed(tensors, names), _new_share(momentum), epsilon)


def paddle(
    tensors: Mapping[str, Any], *, momentum: float = 0.9, epsilon: float = 1e-5
) -> NormState:
    """Convert a Paddle batch norm: weight, bias, _mean, _variance.

    Args:
        tensors: by name.
        momentum: Paddle's, the share of the old value.
        epsilon: added to the variance.

    Raises:
        ConventionError: a key is unknown or missing.
    """
    names = {"weight": "weight", "bias": "bias", "_mean": _MEAN, "_variance": _VAR}
    return NormState(_renamed(tensors, names), _new_share(momentum), epsilon)


def unbiased_variance(var: Tensor, count: int) -> Tensor:
    """Return var * n / (n - 1) of a biased variance over n values per channel (N x H x W)."""
    return (var.double() * (_count(count) / (count - 1))).to(var.dtype)


def biased_variance(var: Tensor, count: int) -> Tensor:
    """Return var * (n - 1) / n of an unbiased variance over n values per channel (N x H x W)."""
    return (var.double() * ((_count(count) - 1) / count)).to(var.dtype)


def _count(count: int) -> int:
    if count < 2:
        raise ConventionError(
            f"a variance of {count} values per channel; give a count of 2 or more"
        )
    return count


def _new_share(old_share: float) -> float:
    if not 0 <= old_share <= 1:
        raise ConventionError(f"momentum is {old_share}; give the share of the old value, 0 to 1")
    return 1 - old_share


def _renamed(
    tensors: Mapping[str, Any], names: Mapping[str, str], required: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Return copies under torch's names; nothing may be left over or missing."""
    required = required or [k for k, name in names.items() if name.startswith("running")]
    unknown = [key for key in tensors if key not in names]
    missing = [key for key in required if key not in tensors]
    if unknown or missing:
        problems = [f"unknown: {', '.join(unknown)}"] if unknown else []
        problems += [f"missing: {', '.join(missing)}"] if missing else []
        raise ConventionError(f"keys {'; '.join(problems)}; the known ones are {', '.join(names)}")
    return {names[key]: _tensor(value) for key, value in tensors.items()}


def _tensor(value: Any) -> Tensor:
    """Return a copy of a tensor, or of any framework's array that numpy reads."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    return torch.tensor(np.asarray(value), device="cpu")

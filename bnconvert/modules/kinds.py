"""Recognize batch normalization: which modules are, of which kind, with which settings."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize

from bnconvert.errors import Refusal
from bnconvert.modules.normalization import Extras, Normalization
from bnconvert.modules.paths import holders
from bnconvert.modules.running_statistics import held_statistics
from bnconvert.torch_private.compilation import is_compiled_in_place
from bnconvert.torch_private.norm_classes import is_instance_norm

#: timm's fused layers (`BatchNormAct2d`) normalize, then call these children, in this order.
CHILDREN_AFTER = ("drop", "act")
_TIMM = {
    "BatchNormAct2d": "BatchNormAct2d",
    "SyncBatchNormAct": "SyncBatchNormAct",
    "FrozenBatchNormAct2d": "BatchNormAct2d",  # its class when it is not frozen
}
_TORCH_FORWARDS: tuple[Callable[..., Any], ...] = (_BatchNorm.forward, nn.SyncBatchNorm.forward)
_FROZEN_BUFFERS = ("weight", "bias", "running_mean", "running_var")
_FROZEN_EPS = 1e-5  # of the frozen norms that write it into their forward (DETR's)


@dataclass(frozen=True)
class Kind:
    """What kind of batch norm a module is.

    Attributes:
        plain_class: the batch norm class with the same eval function, which `revert` gives back.
        children_after: names of the children that its forward calls after it has normalized, in
            order.
        has_fixed_statistics: the running statistics are used in training too, and never change.
        unsupported: why no rewrite may replace it, or None.
        is_other_class: nothing is known of its class but that it holds running statistics.
    """

    plain_class: type[_BatchNorm]
    children_after: tuple[str, ...] = ()
    has_fixed_statistics: bool = False
    unsupported: Refusal | None = None
    is_other_class: bool = False


def kind_of(module: nn.Module) -> Kind | None:
    """Recognize `module`: return which kind of batch norm it is, or None where it is not one."""
    if isinstance(module, Normalization):
        return Kind(module.origin, module.children_after, module.has_fixed_statistics)
    if isinstance(module, _BatchNorm):
        return _kind_of_batch_norm(module)
    if _looks_frozen(module):
        return _kind_of_frozen(module)
    if held_statistics(module) is not None and not is_instance_norm(module):
        return _kind_of_other_class(module)
    return None


def norms_in(
    model: nn.Module, *, remove_duplicate: bool = True
) -> Iterator[tuple[str, nn.Module, Kind]]:
    """Yield path, module and kind of every norm, but not of norms inside another norm."""
    extras: set[str] = set()
    for path, module in model.named_modules(remove_duplicate=remove_duplicate):
        if isinstance(module, Extras):
            extras.add(path)
        kind = kind_of(module)
        if kind is not None and extras.isdisjoint(holders(path)):
            yield path, module, kind


def is_only_a_norm(module: nn.Module) -> bool:
    """Tell whether a module is a norm, and does not hold a model around it."""
    kind = kind_of(module)
    if kind is None or not kind.is_other_class:
        return kind is not None
    return not any(kind_of(inner) for inner in module.modules() if inner is not module)


def channels_of(module: nn.Module) -> int:
    """Return the number of channels of a norm; 0 while a lazy one has not seen its input."""
    mean = module._buffers.get("running_mean")
    if mean is not None and not isinstance(mean, nn.parameter.UninitializedBuffer):
        return mean.numel()
    held = held_statistics(module)
    if held is not None and not isinstance(held[0], nn.UninitializedBuffer):
        return held[0].numel()
    return int(getattr(module, "num_features", 0))


def eps_of(module: nn.Module) -> float:
    """Return eps, which the norm adds to the variance."""
    return float(getattr(module, "eps", _FROZEN_EPS))


def has_running_statistics(module: nn.Module) -> bool:
    """Tell whether a norm holds running statistics: `track_running_stats=False` leaves none."""
    return module._buffers.get("running_mean") is not None or held_statistics(module) is not None


def has_default_statistics(module: nn.Module) -> bool:
    """Tell whether the running statistics are those of a norm that never saw data."""
    mean, var = module._buffers.get("running_mean"), module._buffers.get("running_var")
    if mean is None or var is None or mean.is_meta or not channels_of(module):
        return False
    return not bool(mean.any()) and bool((var == 1).all())


def _kind_of_batch_norm(module: _BatchNorm) -> Kind:
    """Return the kind of a torch or timm batch norm, or of a subclass."""
    plain = type(module)
    refusal = _why_not_readable(module)
    if refusal is not None or plain.forward in _TORCH_FORWARDS:
        return Kind(plain, unsupported=refusal)
    return Kind(plain, children_after=_children_after(module))


def _why_no_parameter(module: _BatchNorm, name: str) -> Refusal:
    """Refuse a norm whose weight or bias is no Parameter of its own."""
    if isinstance(module._parameters.get(f"{name}_orig"), nn.Parameter):
        return Refusal(
            "parametrized",
            f"its {name} is computed from another one by a hook, as of torch.nn.utils.prune",
            f'make it permanent first (torch.nn.utils.prune.remove(norm, "{name}"))',
        )
    return Refusal(
        "parametrized",
        f"its {name} is no Parameter, but an attribute that something else computes",
        "give it an nn.Parameter there first, or use Keep()",
    )


def _why_not_readable(module: _BatchNorm) -> Refusal | None:
    """Refuse batch norms that have something which a rewrite could not keep."""
    if isinstance(module, LazyModuleMixin):
        fact = "is lazy and has not seen an input"
        return Refusal("lazy", fact, "run the model once on an input first")
    if parametrize.is_parametrized(module):
        return Refusal(
            "parametrized",
            "its weight is computed by a parametrization",
            "remove that first (torch.nn.utils.parametrize.remove_parametrizations)",
        )
    if missing := {"weight", "bias"} - module._parameters.keys():
        return _why_no_parameter(module, min(missing))
    if is_compiled_in_place(module) or "forward" in vars(module):
        return Refusal(
            "call-replaced",
            "its call was replaced on the object (module.compile() or a patched forward)",
            "convert first, then compile",
        )
    if type(module).forward not in _TORCH_FORWARDS and not _is_timm(module):
        fact = f"{type(module).__name__} has a forward of its own, which a rewrite would drop"
        return Refusal("own-forward", fact, "use Keep()")
    return None


def _kind_of_frozen(module: nn.Module) -> Kind:
    """Return the kind of another package's frozen batch norm."""
    if _is_timm(module):
        layers = sys.modules[type(module).__module__]
        plain: type[_BatchNorm] = getattr(layers, _TIMM[type(module).__name__])
        return Kind(plain, _children_after(module), has_fixed_statistics=True)
    behavior = _behavior(module)
    if behavior == "moves":
        return _kind_of_other_class(module)
    if behavior == "batch norm":
        return Kind(nn.BatchNorm2d, has_fixed_statistics=True)
    return Kind(
        nn.BatchNorm2d,
        has_fixed_statistics=True,
        unsupported=Refusal(
            "other-formula",
            f"{type(module).__name__} does not compute weight * (x - running_mean) / "
            "sqrt(running_var + eps) + bias",
            "use Keep()",
        ),
    )


def _kind_of_other_class(module: nn.Module) -> Kind:
    """Return the kind of a module of an unknown class that holds running statistics."""
    fact = (
        f"{type(module).__name__} holds running statistics and is no batch norm class that is "
        "known here, so that nothing can stand in for it"
    )
    return Kind(
        nn.BatchNorm2d,
        unsupported=Refusal("other-class", fact, "use Keep() for it, or an nn.BatchNorm module"),
        is_other_class=True,
    )


def _is_timm(module: nn.Module) -> bool:
    owner = type(module)
    return owner.__module__.partition(".")[0] == "timm" and owner.__name__ in _TIMM


def _children_after(module: nn.Module) -> tuple[str, ...]:
    return tuple(name for name in CHILDREN_AFTER if name in module._modules)


def _looks_frozen(module: nn.Module) -> bool:
    """Recognize a FrozenBatchNorm2d by its name and buffers: many packages have a copy of it."""
    return (
        "FrozenBatchNorm" in type(module).__name__
        and not module._parameters
        and all(isinstance(module._buffers.get(name), Tensor) for name in _FROZEN_BUFFERS)
    )


def _behavior(module: nn.Module) -> Literal["batch norm", "another formula", "moves"]:
    """Try on numbers what a frozen norm computes in training mode: its name proves nothing.

    A stand-in is tried, whose buffers may move.
    """
    weight, bias, mean, var = (module._buffers[name] for name in _FROZEN_BUFFERS)
    assert weight is not None  # _looks_frozen has seen the four buffers
    if weight.is_meta or not weight.dtype.is_floating_point:
        return "another formula"
    ramp = torch.linspace(-2, 2, 2 * weight.numel(), dtype=weight.dtype, device=weight.device)
    x = ramp.reshape(2, -1).movedim(0, -1).reshape(1, -1, 2, 1).contiguous()
    stand_in = type(module).__new__(type(module))
    copies = {n: None if b is None else b.clone() for n, b in module._buffers.items()}
    vars(stand_in).update(vars(module) | {"_buffers": copies, "training": True})
    with torch.no_grad():
        measured = type(module).forward(stand_in, x)
        expected = F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps_of(module))
    if not (_is_same(copies["running_mean"], mean) and _is_same(copies["running_var"], var)):
        return "moves"
    agrees = torch.allclose(measured, expected, rtol=1e-3, atol=1e-3, equal_nan=True)
    return "batch norm" if agrees else "another formula"


def _is_same(a: Tensor | None, b: Tensor | None) -> bool:
    assert a is not None
    assert b is not None
    return torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)

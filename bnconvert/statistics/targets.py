"""Targets: the sets of running statistics that are measured, and why others are left alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer

from bnconvert.errors import StatisticsError
from bnconvert.modules.kinds import Kind, eps_of, has_running_statistics, kind_of, norms_in
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.running_statistics import held_statistics
from bnconvert.modules.survey import survey
from bnconvert.modules.tracing.unregistered import unregistered_norms
from bnconvert.modules.tracking import TrackingNorm
from bnconvert.norms.adaptive import AdaptiveNorm
from bnconvert.norms.separate_norm import SeparateNorm
from bnconvert.norms.switches import has_switch
from bnconvert.numerics.blocks import Blocks
from bnconvert.torch_private.norm_classes import is_instance_norm

_UNREGISTERED = (
    "it is held by a plain attribute, which no mode and no state_dict reaches; hold it in an "
    "nn.ModuleList or nn.ModuleDict to measure it"
)
_PER_SAMPLE = "an instance norm averages the statistics of single samples, which are not measured"


@dataclass(frozen=True, eq=False)
class StatisticsTarget:
    """One set of running statistics that is measured: a norm's, or one domain's of a norm.

    Attributes:
        index: its place among the targets.
        path: where the norm is, with the domain in brackets if it holds several.
        class_name: the norm's class.
        mean: its buffer of means, shape (C,).
        var: its buffer of variances, shape (C,).
        counter: its buffer that counts batches, or None.
        eps: what the norm adds to the variance.
        momentum: the norm's; None for the average of all batches.
        stream: buffers that start from mean and variance: those of `Adaptive(over="stream")`.
    """

    index: int
    path: str
    class_name: str
    mean: Tensor
    var: Tensor
    counter: Tensor | None
    eps: float
    momentum: float | None
    stream: tuple[Tensor, ...] = ()

    @property
    def buffers(self) -> list[Tensor]:
        """The buffers, those that exist."""
        own = (self.mean, self.var, self.counter, *self.stream)
        return [buffer for buffer in own if buffer is not None]

    def set_values(self, mean: Tensor, var: Tensor) -> None:
        """Write statistics into the buffers, in place; they may be provisional or not finite."""
        self.mean.copy_(mean)
        self.var.copy_(var)

    def set_final(self, mean: Tensor, var: Tensor) -> None:
        """Write final statistics into the buffers, in place.

        Raises:
            StatisticsError: they do not fit the buffers' dtype.
        """
        self.set_values(mean, var)
        if not (torch.isfinite(self.mean).all() and torch.isfinite(self.var).all()):
            raise StatisticsError(
                f"{self.path}: statistics of up to {max(mean.abs().max(), var.max()):.3g} do not "
                f"fit its {self.var.dtype} buffers; keep the norms in float32 (norm.float())"
            )
        for buffer, source in zip(self.stream, (self.mean, self.var), strict=False):
            buffer.copy_(source)


#: Copies of targets' buffers, in the order of `StatisticsTarget.buffers`: mean, variance, ...
SavedStatistics = dict[StatisticsTarget, list[Tensor]]


@dataclass(frozen=True, eq=False)
class Targets:
    """Which statistics of a model are measured, and which are not.

    Attributes:
        measured: the targets.
        excluded: path to reason, for every norm that is left alone.
    """

    measured: tuple[StatisticsTarget, ...]
    excluded: dict[str, str]

    def snapshot(self) -> SavedStatistics:
        """Return copies of the targets' buffers."""
        return {target: [b.detach().clone() for b in target.buffers] for target in self.measured}

    def require_any(self, model: nn.Module) -> None:
        """Raise where there is nothing to measure in `model`.

        Raises:
            StatisticsError: with the reason for each norm.
        """
        if self.measured:
            return
        if not self.excluded:
            facts = [
                f"{call.owner or '(root)'}: {call.fact}; {call.remedy}"
                for call in survey(model).functional
                if not call.on_weight
            ]
            what = "batch norm module" if facts else "batch norm"
            head = f"the model has no {what}; there is nothing to recompute"
            raise StatisticsError("\n  ".join((head, *facts)))
        reasons = "\n  ".join(f"{path}: {reason}" for path, reason in self.excluded.items())
        raise StatisticsError(
            "no norm has running statistics to recompute; convert or unfreeze some first\n  "
            + reasons
        )


def find_targets(model: nn.Module, domain: str | None = None) -> Targets:
    """Return the sets of running statistics to be measured. Looks only.

    Args:
        model: whose norms; those in eval mode inside a model in training mode count as frozen.
        domain: measure only norms that hold this domain.

    Raises:
        StatisticsError: a switch (`update_statistics`, `use_statistics`, a mixed batch of
            domains) is in force.
    """
    measured: list[StatisticsTarget] = []
    excluded: dict[str, str] = {}
    by_mean: dict[int, StatisticsTarget] = {}
    in_training = _wrapped_by(model).training
    for path, norm, kind in norms_in(model):
        path = path or "(root)"
        _refuse_switches(path, norm)
        reason = _why_not_readable(norm) if kind.is_other_class else None
        reason = reason or _why_excluded(norm, kind, in_training, domain)
        if reason is not None:
            excluded[path] = reason
            continue
        for target_path, holder in _holders(path, norm):
            target = _target(len(measured), target_path, type(norm).__name__, holder)
            same = by_mean.setdefault(id(target.mean), target)
            if same is target:
                measured.append(target)
            else:
                excluded[target_path] = f"has the statistics of {same.path}, measured there"
    excluded |= {place: _UNREGISTERED for _, place, _, _ in unregistered_norms(model)}
    excluded |= {
        path or "(root)": _PER_SAMPLE
        for path, module in model.named_modules()
        if is_instance_norm(module) and held_statistics(module) is not None
    }
    return Targets(tuple(measured), excluded)


def _wrapped_by(model: nn.Module) -> nn.Module:
    """Return what a wrapper around one model holds, whose mode counts: timm's EMA is never set."""
    children = list(model.children())
    while len(children) == 1 and kind_of(children[0]) is None and not model._parameters:
        model = children[0]
        children = list(model.children())
    return model


def _target(index: int, path: str, class_name: str, holder: nn.Module) -> StatisticsTarget:
    """Make a target from the module that holds one set of running statistics."""
    mean, var = (holder.get_buffer(name) for name in ("running_mean", "running_var"))
    counter = holder._buffers.get("num_batches_tracked")
    momentum = getattr(holder, "momentum", None)
    stream: tuple[Tensor, ...] = ()
    if isinstance(holder, AdaptiveNorm) and holder.over == "stream":
        stream = holder.extras().get_buffer("mean"), holder.extras().get_buffer("var")
    return StatisticsTarget(
        index, path, class_name, mean, var, counter, eps_of(holder), momentum, stream
    )


def _holders(path: str, norm: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each module that holds one set of statistics to be measured, and its path."""
    if not isinstance(norm, SeparateNorm):
        yield path, norm
    elif norm.by_call:
        for index, name in enumerate(norm.domains):
            yield f"{path}[call {name}]", norm.norm_of(index)
    else:
        active = norm.active if isinstance(norm.active, str) else norm.domains[0]
        yield f"{path}[{active}]", norm.norm_of(norm.domains.index(active))


def _why_excluded(
    norm: nn.Module, kind: Kind, in_training_model: bool, domain: str | None
) -> str | None:
    """Return why a norm's statistics are not measured, or None."""
    if kind.has_fixed_statistics:
        return "its statistics are frozen"
    if not has_running_statistics(norm):
        return "has no running statistics"
    mean = norm._buffers.get("running_mean")
    if mean is None or norm._buffers.get("running_var") is None:
        return _why_not_readable(norm)
    if isinstance(mean, UninitializedBuffer) or mean.is_meta:
        return "its running statistics hold no numbers yet"
    if isinstance(norm, Normalization) and not isinstance(norm, TrackingNorm):
        return f"{type(norm).__name__} does not use its running statistics"
    if not getattr(norm, "track_running_stats", True):
        return "track_running_stats is off"
    if in_training_model and not norm.training:
        return "is in eval mode inside a model in training mode, which freezes it"
    if domain is not None and domain not in getattr(norm, "domains", ()):
        return f"holds no domain {domain!r}"
    return None


def _why_not_readable(norm: nn.Module) -> str | None:
    """Return why the statistics of a norm of another class cannot be measured, or None."""
    mean, var = (norm._buffers.get(name) for name in ("running_mean", "running_var"))
    if mean is not None and var is not None and mean.dim() == 1 and mean.shape == var.shape:
        return None
    return (
        f"{type(norm).__name__} does not keep its statistics as batch norm does, in two buffers "
        "running_mean and running_var of shape (C,); register such ones, or use an nn.BatchNorm "
        "module, to measure them"
    )


def _refuse_switches(path: str, norm: nn.Module) -> None:
    """Raise where a switch of this norm is in force."""
    if has_switch(norm):
        raise StatisticsError(
            f"{path}: update_statistics or use_statistics is in force; leave its context first"
        )
    if isinstance(norm, SeparateNorm) and isinstance(norm.active, Blocks):
        raise StatisticsError(
            f"{path}: the domain of each sample is chosen, and statistics are measured domain by "
            "domain; leave that context and give domain=..."
        )

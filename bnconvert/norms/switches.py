"""Switches for one forward: which statistics normalize, whether they are updated, which domain.

Each is a context manager, may be nested, and is undone on exceptions. They work on bnconvert's
norms and on plain torch batch norm, without converting; frozen norms are never affected.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import UninitializedBuffer

from bnconvert.errors import UnsupportedModelError
from bnconvert.modules.kinds import has_running_statistics
from bnconvert.modules.lazy_modules import require_weights
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.tracking import TrackingNorm
from bnconvert.norms.torch_switches import is_switched, switched
from bnconvert.numerics.blocks import Blocks, blocks


@contextmanager
def update_statistics(model: nn.Module, updates: bool) -> Iterator[None]:
    """Normalize as before, but update no running statistics (a GAN's fake batch, a PGD pass).

    Also around `loss.backward()`, where a checkpointed forward is recomputed and would update
    once more. With True, an outer False is lifted. What is loaded into a plain torch norm inside
    the context is dropped at its end.

    Args:
        model: any module that holds norms.
        updates: whether training forwards update the running statistics.

    Examples:
        >>> norm = nn.BatchNorm1d(1)
        >>> with bnc.update_statistics(norm, False):
        ...     y = norm(torch.randn(8, 1) + 5)
        >>> norm.running_mean
        tensor([0.])
    """
    with _switched(model, "updates", updates):
        yield


@contextmanager
def use_statistics(model: nn.Module, statistics: Literal["running", "batch"]) -> Iterator[None]:
    """Normalize by the running statistics in training, or by the batch's in eval.

    Neither updates the running statistics, except "batch" in training, which is what training
    does anyway.

    Args:
        model: any module that holds norms.
        statistics: "running" or "batch".

    Raises:
        UnsupportedModelError: "running", and a norm has no running statistics.
        ValueError: `statistics` is neither.

    Examples:
        >>> norm = nn.BatchNorm1d(1, eps=0.0, affine=False)  # in training mode, mean 0, variance 1
        >>> with bnc.use_statistics(norm, "running"):
        ...     norm(torch.tensor([[3.0], [5.0]])).flatten()
        tensor([3., 5.])
    """
    if statistics not in ("running", "batch"):
        raise ValueError(f'statistics is {statistics!r}; use "running" or "batch"')
    if statistics == "running":
        _require_running_statistics(model)
    with _switched(model, "statistics", statistics):
        yield


@contextmanager
def domain(model: nn.Module, which: str | Tensor) -> Iterator[None]:
    """Choose the statistics of norms that were converted with `Separate`.

    Args:
        model: holds such norms.
        which: a domain's name, or the domain of each sample of a mixed batch: a LongTensor of
            shape (N,) with positions in `Separate.domains`. With `Sync` inside, all ranks must
            choose the same name.

    Raises:
        UnsupportedModelError: no norm has domains, or one does not know this one.
        ValueError: the labels are not a vector of positions.

    Examples:
        >>> norm = bnc.convert(nn.BatchNorm1d(1, momentum=1.0), bnc.Separate(("source", "target")))
        >>> with bnc.domain(norm, torch.tensor([0, 1, 1, 0])):  # a mixed batch
        ...     y = norm(torch.tensor([[1.0], [8.0], [6.0], [3.0]]))
        >>> norm.running_mean, bnc.revert(norm, domain="target").running_mean
        (tensor([2.]), tensor([7.]))
    """
    norms = _with_domains(model)
    if not norms:
        raise UnsupportedModelError(
            "no norm of the model has domains; convert(model, Separate(domains=...)) first"
        )
    active: str | Blocks
    if isinstance(which, Tensor):
        active = _checked_blocks(which, min(len(norm.domains) for _, norm in norms))
    else:
        active = which
        for path, norm in norms:
            if which not in norm.domains:
                raise UnsupportedModelError(
                    f"{path or '(root)'}: has no domain {which!r}; use one of "
                    f"{', '.join(norm.domains)}"
                )
    with _temporarily_set([norm for _, norm in norms], "active", active):
        yield


def reset_stream(model: nn.Module) -> None:
    """Reset what `Adaptive(over="stream")` norms remember to the source statistics, in place.

    Args:
        model: any module; one without such norms is left as it is.

    Examples:
        >>> norm = bnc.convert(nn.BatchNorm1d(1, affine=False), bnc.Adaptive(over="stream")).eval()
        >>> x = torch.tensor([[3.0], [5.0]])
        >>> first, second = norm(x), norm(x)  # the second batch is nearer to what was seen
        >>> bnc.reset_stream(norm)
        >>> torch.equal(norm(x), first), torch.equal(second, first)
        (True, False)
    """
    for module in model.modules():
        reset = getattr(module, "reset", None)
        if isinstance(module, Normalization) and reset is not None:
            reset()


def has_switch(norm: nn.Module) -> bool:
    """Tell whether `update_statistics` or `use_statistics` is in force for a norm."""
    ours = isinstance(norm, TrackingNorm) and (not norm.updates or norm.statistics is not None)
    return ours or is_switched(norm)


@contextmanager
def _switched(model: nn.Module, name: str, value: object) -> Iterator[None]:
    """Set a switch on every norm that tracks statistics, bnconvert's and torch's, and undo it."""
    if any(isinstance(buffer, UninitializedBuffer) for buffer in model.buffers()):
        require_weights(model)  # a switch saves the buffers of norms
    ours = [module for module in model.modules() if isinstance(module, TrackingNorm)]
    with _temporarily_set(ours, name, value), switched(model, **{name: value}):
        yield


@contextmanager
def _temporarily_set(norms: Sequence[Normalization], name: str, value: object) -> Iterator[None]:
    """Set an attribute of norms inside the context, and restore it at its end."""
    before = [getattr(norm, name) for norm in norms]
    try:
        for norm in norms:
            setattr(norm, name, value)
        yield
    finally:
        for norm, old in zip(norms, before, strict=True):
            setattr(norm, name, old)


def _with_domains(model: nn.Module) -> list[tuple[str, Normalization]]:
    """Return the norms whose domain the user chooses, by path."""
    return [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, Normalization)
        and module.domains
        and not getattr(module, "by_call", False)
    ]


def _checked_blocks(labels: Tensor, domains: int) -> Blocks:
    """Return the blocks of a mixed batch, from checked labels."""
    if labels.dim() != 1 or labels.dtype != torch.long:
        raise ValueError(
            f"domain labels have shape {tuple(labels.shape)} and {labels.dtype}; give a "
            "LongTensor with one position in the domains per sample"
        )
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < domains):
        raise ValueError(
            f"domain labels go from {int(labels.min())} to {int(labels.max())}; give positions "
            f"from 0 to {domains - 1}"
        )
    return blocks(labels)


def _require_running_statistics(model: nn.Module) -> None:
    """Raise unless every norm has running statistics."""
    without = [
        path or "(root)"
        for path, module in model.named_modules()
        if isinstance(module, TrackingNorm | _BatchNorm) and not has_running_statistics(module)
    ]
    if without:
        raise UnsupportedModelError(
            f"{', '.join(without)}: no running statistics to use; use_statistics(submodule, "
            '"running") on the submodules that have some'
        )

"""Statistics the naive way: all data through the whole model, once for each norm."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from tests.random_networks.closeness import outputs
from tests.random_networks.statistics import FunctionalNorm, WrittenNorm
from tests.random_networks.verdicts import NotAskedError, WrongError

_CLOSE = 1e-7


def _tracking(model: nn.Module) -> dict[str, nn.Module]:
    """Return every module with running statistics."""
    has = (path for path, m in model.named_modules() if hasattr(m, "running_mean"))
    found = {path: model.get_submodule(path) for path in has}
    return {path: m for path, m in found.items() if m.running_mean is not None}


def _calls(model: nn.Module, batches: Sequence[Example]) -> dict[str, list[Tensor]]:
    """Run the batches, and return what arrived at each norm, in the order of first calls."""
    found: dict[str, list[Tensor]] = {}

    def watch(path: str, norm: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def look(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            found.setdefault(path, []).append(args[0].double().clone())

        return norm.register_forward_pre_hook(look)

    handles = [watch(path, norm) for path, norm in _tracking(model).items()]
    for batch in batches:
        outputs(model, batch)
    for handle in handles:
        handle.remove()
    return found


def layerwise_statistics(
    naive: nn.Module, measured: nn.Module, batches: Sequence[Example], report: bnc.Report
) -> None:
    """Measure a model the naive way, and compare it with one that was measured.

    A norm that is called several times, and all that comes after it, is left out.

    Args:
        naive: a model that nobody needs.
        measured: the same with statistics to compare.
        batches: the data.
        report: its rows name the norms that were measured.

    Raises:
        WrongError: a norm has other statistics.
        NotAskedError: there is no norm to compare.
    """
    rows = {row.path for row in report.statistics}
    compared = 0
    for path in _calls(naive, batches):
        arrived = _calls(naive, batches)[path]
        if len(arrived) != len(batches):
            break
        ours, theirs = measured.get_submodule(path), naive.get_submodule(path)
        if path in rows and not isinstance(theirs, nn.modules.instancenorm._InstanceNorm):
            _require_close(path, ours, arrived)
            compared += 1
        for name in ("running_mean", "running_var"):
            theirs.get_buffer(name).copy_(ours.get_buffer(name))
    if not compared:
        raise NotAskedError("no norm that is called once")


def aggregate_statistics(
    naive: nn.Module, measured: nn.Module, batches: Sequence[Example], report: bnc.Report
) -> None:
    """Measure a model whose norms all normalize by the mini-batch, pool, and compare.

    Args:
        naive: a model that nobody needs.
        measured: the same with statistics to compare.
        batches: the data.
        report: its rows name the norms that were measured.

    Raises:
        WrongError: a norm has other statistics.
        NotAskedError: there is no norm to compare, or another that the mini-batch cannot give.
    """
    kinds = (nn.modules.batchnorm._BatchNorm, FunctionalNorm)
    tracking = _tracking(naive)
    if any(not isinstance(m, kinds) or isinstance(m, WrittenNorm) for m in tracking.values()):
        raise NotAskedError("a norm that normalizes by its running statistics alone")
    if not all(m.eps for m in tracking.values()):
        raise NotAskedError("torch trains no norm with an eps of 0")
    for norm in tracking.values():
        norm.train()
    rows = {row.path for row in report.statistics}
    for path, arrived in _calls(naive, batches).items():
        if path in rows:
            _require_close(path, measured.get_submodule(path), arrived)


def _require_close(path: str, norm: nn.Module, arrived: Sequence[Tensor]) -> None:
    """Raise unless a norm's statistics are those of all values that arrived at it."""
    values = torch.cat([a.transpose(0, 1).flatten(1) for a in arrived], 1)
    mean, var = values.mean(1), values.var(1, correction=0)
    found, spread = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    size = (var.sqrt() + mean.abs()).nan_to_num(0, 0, 0)
    if bool(((found - mean).abs() > _CLOSE * size).any()):
        raise WrongError(f"{path}: mean {found.tolist()}, not {mean.tolist()}")
    if bool(((spread - var).abs() > _CLOSE * var + 1e-13 * size**2).any()):
        raise WrongError(f"{path}: variance {spread.tolist()}, not {var.tolist()}")

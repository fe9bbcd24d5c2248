"""Precise statistics the slow way, to compare with: one pass over the data for each norm."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

Statistics = dict[str, tuple[Tensor, Tensor]]


def norms_of(model: nn.Module) -> dict[str, _NormBase]:
    """Return the norms that have running statistics, by path."""
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, _NormBase) and module.running_mean is not None
    }


def statistics_of(model: nn.Module) -> Statistics:
    """Return copies of all running statistics, by path."""
    found = {}
    for path, norm in norms_of(model).items():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        found[path] = (norm.running_mean.clone(), norm.running_var.clone())
    return found


def arrivals(model: nn.Module, batches: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """Return what arrives at each norm in eval mode, in the order of the first arrival."""
    seen: dict[str, list[Tensor]] = {}
    hooks = [
        norm.register_forward_pre_hook(
            lambda module, inputs, path=path: seen.setdefault(path, []).append(
                inputs[0].detach().clone()
            )
        )
        for path, norm in norms_of(model).items()
    ]
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for hook in hooks:
        hook.remove()
    return seen


def population(values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and population variance of all values, per channel, in float64."""
    flat = torch.cat([x.double().transpose(0, 1).flatten(1) for x in values], 1)
    mean = flat.mean(1)
    return mean, (flat - mean[:, None]).square().mean(1)


def layer_by_layer(model: nn.Module, batches: Sequence[Tensor]) -> Statistics:
    """Measure norm after norm, each with all earlier ones final; `model` is not changed."""
    twin = copy.deepcopy(model).eval()
    done: list[str] = []
    order = list(arrivals(twin, batches[:1]))
    for path in order:
        values = arrivals(twin, batches)[path]
        norm = norms_of(twin)[path]
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, var = population(values)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        done.append(path)
    return statistics_of(twin)


def one_giant_batch(model: nn.Module, batches: Sequence[Tensor]) -> Statistics:
    """Let torch train on all data as one batch, and undo its unbiased variance."""
    twin = copy.deepcopy(model).train()
    for module in twin.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    whole = torch.cat(list(batches))
    counts = {
        path: values[0].numel() // values[0].shape[1]
        for path, values in arrivals(copy.deepcopy(model).eval(), [whole]).items()
    }
    for norm in norms_of(twin).values():
        norm.momentum = 1.0
    with torch.no_grad():
        twin(whole)
    return {
        path: (mean, var * (counts[path] - 1) / counts[path])
        for path, (mean, var) in statistics_of(twin).items()
        if path in counts
    }


def farthest(measured: Statistics, wanted: Statistics) -> float:
    """Return the largest error: of means in standard deviations, of variances in proportion."""
    errors = []
    for path, (mean, var) in wanted.items():
        sigma = var.double().sqrt()
        errors.append(((measured[path][0].double() - mean.double()).abs() / sigma).max())
        errors.append((measured[path][1].double() / var.double() - 1).abs().max())
    return float(torch.stack(errors).max())

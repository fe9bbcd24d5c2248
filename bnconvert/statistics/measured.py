"""`measured`: precise statistics for an evaluation, and the running ones back afterwards."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bnconvert.modules.modes import kept_modes
from bnconvert.reporting.progress import Progress
from bnconvert.reporting.report import Report
from bnconvert.statistics.batch_inputs import ForwardFunction
from bnconvert.statistics.recomputation import Method, Variance, recompute_statistics


@contextmanager
def measured(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    method: Method = "layerwise",
    variance: Variance = "population",
    forward: ForwardFunction | None = None,
    max_samples: int | None = None,
    domain: str | None = None,
    memory_limit: int | None = None,
    process_group: Any = None,
    progress: Progress | None = None,
) -> Iterator[Report]:
    """Evaluate with precise statistics over `batches`, while training keeps its running ones.

    Inside the context the model is in eval mode and has the statistics that
    `recompute_statistics` measures. At its end, on an exception too, every set of statistics that
    was measured has its old values back, bit for bit, and every module its mode. What else is
    done to the model inside, stays; what a training step inside does to these statistics, does
    not.

    Args:
        model: an eager module, in any mode. Norms that are frozen in it are not measured.
        batches: what to measure over, as for `recompute_statistics`; training data, not those of
            the evaluation.
        method: "layerwise", "aggregate" or "ema", as for `recompute_statistics`.
        variance: "population" or "unbiased".
        forward: forward(model, batch), for batches that the model does not take directly.
        max_samples: read batches until there are so many samples.
        domain: for norms that were converted with `Separate`: whose statistics to measure. To
            evaluate in it too, enter `bnconvert.domain(model, ...)` around this context instead.
        memory_limit: bytes of activations to hold on each device, for "layerwise".
        process_group: the ranks that measure together.
        progress: called as progress(done, total or None, what).

    Yields:
        The report of the recomputation: how far the running statistics are from the precise ones.

    Raises:
        StatisticsError: as `recompute_statistics`; the context is then not entered.
        UnsupportedModelError: as `recompute_statistics`.
        ValueError: as `recompute_statistics`.

    Examples:
        >>> norm = nn.BatchNorm1d(1)
        >>> with bnc.measured(norm, [torch.tensor([[2.0], [4.0]])]):
        ...     norm.running_mean, norm.training
        (tensor([3.]), False)
        >>> norm.running_mean, norm.training
        (tensor([0.]), True)
    """
    result = recompute_statistics(
        model,
        batches,
        method=method,
        variance=variance,
        forward=forward,
        max_samples=max_samples,
        domain=domain,
        memory_limit=memory_limit,
        process_group=process_group,
        progress=progress,
    )
    buffers = [(m, name, b) for m in model.modules() for name, b in m.named_buffers(recurse=False)]
    try:
        with kept_modes(model.modules()):
            for module in model.modules():
                module.training = False  # as in the replicas: captured graphs refuse eval()
            yield result.report
    finally:
        result.undo()
        _follow(buffers, result.written)


def _follow(places: Iterable[tuple[nn.Module, str, Tensor]], undone: Iterable[Tensor]) -> None:
    """Give buffers that replaced the measured ones their values: `model.to(...)` makes new ones."""
    known = {id(buffer) for buffer in undone}
    for module, name, buffer in places:
        current = module._buffers.get(name)
        if id(buffer) in known and current is not None and current is not buffer:
            with torch.no_grad():
                current.copy_(buffer)

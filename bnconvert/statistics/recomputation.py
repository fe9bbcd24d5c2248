"""`recompute_statistics`: replace running statistics by precise ones, measured over data."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bnconvert.errors import StatisticsError
from bnconvert.modules.ambient_modes import writing_to
from bnconvert.modules.copies.preserving import refusing_calls, restored
from bnconvert.modules.digests import digest_of, digests, tensor_digest
from bnconvert.modules.survey import require_runnable
from bnconvert.norms.switches import domain as chosen_domain
from bnconvert.reporting.progress import Progress, showing_progress
from bnconvert.reporting.report import Report
from bnconvert.reporting.shown import Shown
from bnconvert.statistics.batch_inputs import ForwardFunction, default_forward
from bnconvert.statistics.batches import BatchReader
from bnconvert.statistics.layerwise import LayerwiseMeasurement
from bnconvert.statistics.loaders import undisturbed
from bnconvert.statistics.minibatch import MiniBatchMeasurement
from bnconvert.statistics.notes import measuring_notes, reading_notes, require_measured
from bnconvert.statistics.observing import observing
from bnconvert.statistics.paging.activation_paging import LimitedMemory, Memory
from bnconvert.statistics.paging.swap_space import can_be_emptied, swap_space_for
from bnconvert.statistics.ranks import Ranks, all_ranks
from bnconvert.statistics.report_rows import statistics_rows
from bnconvert.statistics.targets import SavedStatistics, Targets, find_targets
from bnconvert.statistics.task import Task, TaskResult
from bnconvert.torch_private.one_at_a_time import one_at_a_time

Method = Literal["layerwise", "aggregate", "ema"]
Variance = Literal["population", "unbiased"]
_METHODS, _VARIANCES = ("layerwise", "aggregate", "ema"), ("population", "unbiased")


@dataclass(frozen=True, eq=False, repr=False)
class Recomputation(Shown):
    """The result of recomputing statistics; the model has them already.

    Attributes:
        report: how far each norm's statistics moved, how certain they are, and what was left alone.

    Examples:
        >>> norm = nn.BatchNorm1d(1)
        >>> result = bnc.recompute_statistics(norm, [torch.tensor([[2.0], [4.0]])])
        >>> norm.running_mean
        tensor([3.])
        >>> result.undo()
        >>> norm.running_mean
        tensor([0.])
    """

    report: Report
    _before: SavedStatistics = field(repr=False)

    @property
    def written(self) -> tuple[Tensor, ...]:
        """The buffers that have new values."""
        return tuple(buffer for target in self._before for buffer in target.buffers)

    @one_at_a_time()
    def undo(self) -> None:
        """Give the buffers the values that they had before, bit for bit, in place."""
        _restore(self._before)

    def __str__(self) -> str:
        """Return the report as text."""
        return str(self.report)


@one_at_a_time()
def recompute_statistics(
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
) -> Recomputation:
    """Replace running statistics, in place, by precise ones over `batches`.

    They are the true average over the data; running statistics are a moving average, kept while
    the weights still changed (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3).
    All norms that track statistics are measured, but not frozen ones, nor those in eval mode in a
    model in training mode. All modules run as in eval mode (dropout off), in replicas: modes,
    hooks, parameters, momentum, the random state and all other buffers stay as they are, and on
    any error, Ctrl-C included, the statistics too. A batch with a NaN or an infinity is left out
    and reported.

    Args:
        model: an eager module, in any mode. `num_batches_tracked` becomes the number of batches.
        batches: an iterable of tensors, of tuples or lists (the first elements, as many as the
            model's forward requires; the rest are labels, and where the forward might take one of
            them too, `forward` is needed) or of mappings (keyword arguments, likewise).
        method: "layerwise": each norm is measured while all upstream norms already use their
            final statistics, so that how the data are divided into batches does not
            matter; reads the batches once and holds them. "aggregate": each norm normalizes by its
            own mini-batch, and the moments are pooled exactly. "ema": a moving average as training
            keeps it, with each norm's momentum.
        variance: "population", the mean squared deviation, with which batch norm normalizes in
            training; or "unbiased", which torch keeps in `running_var`.
        forward: forward(model, batch), for batches that the model does not take directly. It must
            call the model that it is given, which is a replica.
        max_samples: read batches until there are so many samples; they must tell how many they
            have, by their tensors or by what arrives at the first norm.
        domain: for norms that were converted with `Separate`: the domain whose statistics to
            replace; other norms are left alone. None for the domain in use.
        memory_limit: bytes of activations to hold on each device, for "layerwise"; what exceeds
            it is moved from main memory to a temporary file, and from an accelerator to main
            memory. One batch's own are always held.
        process_group: the ranks that measure together, each on its own share of the data, of any
            size; all get the same statistics. None for this process alone.
        progress: called as progress(done, total or None, what). By default a bar on stderr, where
            that is a terminal.

    Returns:
        The report, and `undo()`.

    Raises:
        StatisticsError: no norm to measure, or none that any value arrived at; no usable data,
            one value per channel in every batch, a lost rank.
        UnsupportedModelError: the model is wrapped, compiled or scripted, or cannot be copied, or
            a replica calls modules of the model itself.
        ValueError: no such method or variance, or ranks for "ema".

    Examples:
        >>> norm = nn.BatchNorm1d(1)
        >>> batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[7.0]])]
        >>> result = bnc.recompute_statistics(norm, batches)
        >>> norm.running_mean, norm.running_var
        (tensor([3.]), tensor([8.6667]))
    """
    ranks = Ranks(process_group)
    with ranks.announcing_failures():
        _require_valid(method, variance, process_group)
        require_runnable(model)
        with _domain(model, domain), showing_progress(progress) as say:
            targets = find_targets(model, domain)
            before = targets.snapshot()
            with _undone_on_failure(before):
                targets.require_any(model)
                _require_same(ranks, model, targets, method, variance)
                devices = [target.mean.device for target in targets.measured]
                memory = _memory_for(memory_limit, method, set(devices))
                call = forward or default_forward(devices[0])
                task = Task(model, targets.measured, call, ranks, variance, say)
                reader = BatchReader(batches, max_samples)
                measured = [buffer for target in before for buffer in target.buffers]
                with undisturbed(batches), observing(*measured), _unchanged(model, measured):
                    result = _run(task, method, memory, reader)
                require_measured(targets, result, task.uses)
                ranks.gather("done")  # all ranks get the new statistics, or none does
    notes = measuring_notes(model, targets, result, method, task.uses)
    notes += [*reading_notes(reader), *_run_notes(memory, process_group)]
    rows = statistics_rows(targets.measured, before, result.results, result.inseparable, method)
    title = f"{type(model).__name__}: {len(rows)} sets of running statistics, {method}"
    report = Report(title, statistics=rows, notes=tuple(notes), digests=digests(model))
    return Recomputation(report, before)


def _run(task: Task, method: Method, memory: Memory, batches: BatchReader) -> TaskResult:
    """Measure by the method that was asked for."""
    if method == "layerwise":
        return LayerwiseMeasurement(task, memory).run(batches)
    return MiniBatchMeasurement(task, method).run(batches)


def _memory_for(limit: int | None, method: str, devices: Iterable[torch.device]) -> Memory:
    """Return the memory of paused forwards; only "layerwise" pauses any, and can limit it."""
    if limit is None or method != "layerwise":
        return Memory()
    for device in devices:
        if not can_be_emptied(device):
            raise StatisticsError(
                f"memory_limit moves activations away from {device}, where torch cannot empty "
                "tensors in place; move the model to the CPU, or leave memory_limit out"
            )
    return LimitedMemory(limit, {device: swap_space_for(device) for device in devices})


def _run_notes(memory: Memory, group: Any) -> list[str]:
    """Return notes on the memory that was used, and on ranks that were not asked."""
    notes = [summary] if (summary := memory.summary()) else []
    if group is None and all_ranks() is not None:
        notes.append("measured on this rank alone; give process_group= to measure on all")
    return notes


def _require_valid(method: str, variance: str, group: Any) -> None:
    """Check the arguments."""
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}; use one of {', '.join(_METHODS)}")
    if variance not in _VARIANCES:
        raise ValueError(f"variance is {variance!r}; use one of {', '.join(_VARIANCES)}")
    if method == "ema" and group is not None:
        raise ValueError(
            'method "ema" depends on the order of the batches, which ranks do not have; use '
            'method="aggregate"'
        )


def _require_same(
    ranks: Ranks, model: nn.Module, targets: Targets, method: str, variance: str
) -> None:
    """Raise where ranks measure different models, or differently: it could not be merged."""
    if ranks.are_several:
        norms = [(target.path, target.mean.shape) for target in targets.measured]
        facts = {"method": method, "variance": variance, "norms": norms}
        ranks.require_same(facts | {"weights": digest_of(map(tensor_digest, model.parameters()))})


def _domain(model: nn.Module, name: str | None) -> AbstractContextManager[None]:
    return nullcontext() if name is None else chosen_domain(model, name)


@contextmanager
def _unchanged(model: nn.Module, measured: Iterable[Tensor]) -> Iterator[None]:
    """Let replicas run inside of this context, and nothing of the model change but `measured`."""
    with refusing_calls(model), restored(model, measured):
        yield


@contextmanager
def _undone_on_failure(before: SavedStatistics) -> Iterator[None]:
    """Write saved statistics back where anything is raised inside of this context."""
    try:
        yield
    except BaseException:
        _restore(before)
        raise


def _restore(before: SavedStatistics) -> None:
    """Write saved statistics back into the buffers."""
    for target, values in before.items():
        with writing_to(*target.buffers):
            for buffer, value in zip(target.buffers, values, strict=True):
                buffer.copy_(value)

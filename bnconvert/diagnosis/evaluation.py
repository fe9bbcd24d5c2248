"""Evaluate a model with running, batch and precise statistics, on the same batches."""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bnconvert.diagnosis.domains import Domains, labels_of
from bnconvert.diagnosis.findings.measured_data import SAMPLES, Measurements, is_stale
from bnconvert.diagnosis.influence import MOST_NORMS, output_changes
from bnconvert.diagnosis.norm_samples import ArrivalWatch, NormSamples
from bnconvert.diagnosis.scores import BatchScores, intervals_of, is_worse, mean_of, scores_of
from bnconvert.errors import StatisticsError
from bnconvert.modules.copies.copying import copy_sharing_parameters, replicate
from bnconvert.modules.copies.preserving import restored
from bnconvert.modules.normalization import Normalization
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.reporting.progress import showing_progress
from bnconvert.reporting.records import StatisticsRow
from bnconvert.reporting.report import Report
from bnconvert.reporting.table import listed
from bnconvert.reporting.verdict import farthest
from bnconvert.statistics.batch_inputs import ForwardFunction, default_forward
from bnconvert.statistics.batches import Batch, BatchReader, ScoreFunction
from bnconvert.statistics.interception import Interception, Watch
from bnconvert.statistics.loaders import undisturbed
from bnconvert.statistics.observing import observing
from bnconvert.statistics.recomputation import recompute_statistics
from bnconvert.statistics.targets import SavedStatistics, StatisticsTarget, Targets, find_targets
from bnconvert.statistics.unmeasured import UnmeasuredUses

#: What normalizes: the stored averages, each batch's own moments, or the moments of all data.
STATISTICS = ("running", "batch", "precise")
_RANKED = 3  # norms: a ranking of fewer tells nothing that their distances do not


class Evaluation:
    """The evaluation of a copy of the model, three times over the same batches."""

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[Any],
        forward: ForwardFunction | None,
        scores: Mapping[str, ScoreFunction | None],
        domains: Domains | None = None,
    ) -> None:
        """Copy the model and read the batches; `run` evaluates.

        Raises:
            StatisticsError: there is nothing to measure, or no data.
        """
        self.copy = copy_sharing_parameters(model)
        self.targets: Targets = find_targets(self.copy)
        self.targets.require_any(model)
        self.call = forward or default_forward(self.targets.measured[0].mean.device)
        self.reader = BatchReader(batches, None)
        self.read: list[Batch] = []
        reading = showing_progress(None, first="reading the batches")
        with preserved_random_state(), undisturbed(batches), reading as say:
            for batch in self.reader:
                self.read.append(batch)
                say(len(self.read), None, "reading the batches")
        self.batches = [(batch.index, batch.value) for batch in self.read]
        if not self.batches:
            raise StatisticsError("batches gave no data; give at least one batch with samples")
        self.functions = {name: score for name, score in scores.items() if score is not None}
        self.scores: dict[str, dict[str, dict[int, BatchScores]]] = {
            name: {used: {} for used in STATISTICS} for name in self.functions
        }
        self.initial: dict[str, float] = {}
        self.reports: dict[str, Report] = {}
        self.domains = domains
        self.labels: dict[int, tuple[str, ...]] = {}
        self.watch = ArrivalWatch(self.targets)
        self.norms: tuple[NormSamples, ...] = ()
        self.changes: dict[str, float] = {}

    def run(self) -> None:
        """Run and score all batches with each kind of statistics; the copy is restored."""
        self._run_with_running_statistics()
        self.labels = labels_of(self.domains, self.read)
        before = self.targets.snapshot()
        own = recompute_statistics(
            self.copy, self.batches, method="aggregate", forward=self._scored("batch")
        )
        self.norms = self.watch.samples()
        own.undo()
        precise = recompute_statistics(self.copy, self.batches, forward=self._scored("precise"))
        weights = {target.path: initial_weight(target, saved) for target, saved in before.items()}
        self.initial = {path: weight for path, weight in weights.items() if weight}
        self.reports = {"batch": own.report, "precise": precise.report}
        self.changes = self._changes(before)
        precise.undo()

    def _run_with_running_statistics(self) -> None:
        """Run and score all batches, and see how many samples arrive where they do not tell."""
        watch = Watch(self.targets.measured, UnmeasuredUses())
        replica, call = replicate(self.copy), self._scored("running")
        with observing(), restored(self.copy), showing_progress(None) as say:
            for done, batch in enumerate(self.read):
                say(done, len(self.read), "with running statistics")
                with Interception(watch, replica, batch.note_arrival):
                    call(replica, (batch.index, batch.value))

    def _changes(self, running: SavedStatistics) -> dict[str, float]:
        """Return how much the stale statistics of single norms change the output for a batch.

        That costs a forward of one batch for each, fewer than there are batches.
        """
        stale = tuple(row for row in self.rows("precise") if is_stale(row))
        by_path = {target.path: target for target in self.targets.measured}
        targets = [by_path[row.path] for row in farthest(stale) if row.path in by_path]
        targets = targets[: min(MOST_NORMS, len(self.read) - 1)]
        usable = [batch for batch in self.read if batch.index not in self.watch.broken]
        if len(targets) < _RANKED or not usable:
            return {}
        replica = replicate(self.copy)
        written = [buffer for target in targets for buffer in target.buffers]
        with observing(*written), restored(self.copy, written), showing_progress(None) as say:
            say(0, len(targets), "which norm matters most")
            return output_changes(targets, running, lambda: self.call(replica, usable[0].value))

    @property
    def samples(self) -> int:
        """The number of samples that were read, of batches that tell how many they have."""
        return sum(batch.samples() or 0 for batch in self.read)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the report."""
        notes = list(self.reports["precise"].notes)
        if self.reader.empty:
            empty = listed([*map(str, self.reader.empty)])
            notes.append(f"left out, because they are empty: batch {empty}")
        if uncounted := [str(batch.index) for batch in self.read if batch.samples() is None]:
            notes.append(
                f"batch {listed(uncounted)} does not tell how many samples it has, and is counted "
                "as one where scores are averaged"
            )
        if self.samples < SAMPLES:
            notes.append(
                f"only {self.samples} samples were read: stale running statistics are reported "
                f"from {SAMPLES} on"
            )
        for name, by in self.scores.items():
            if is_worse(by["running"], by["batch"]) and not is_worse(by["running"], by["precise"]):
                notes.append(
                    f"the {name} is better with the batches' own statistics than with the running "
                    "ones, but with precise ones it is not: the model relies on its training "
                    "batches being small or mixed; fine-tune with Frozen(), or with Separate() "
                    "per domain"
                )
        return tuple(notes)

    def rows(self, against: str) -> tuple[StatisticsRow, ...]:
        """Return the report's rows: how far running statistics are from "batch" or "precise"."""
        return tuple(replace(row, against=against) for row in self.reports[against].statistics)

    def means(self) -> dict[str, dict[str, float]]:
        """Return the mean scores, by their name and then by kind of statistics."""
        return {
            name: {used: mean_of(by[used]) for used in STATISTICS}
            for name, by in self.scores.items()
        }

    def measurements(self) -> Measurements:
        """Return the figures that findings are derived from."""
        by_name = (intervals_of(name, by) for name, by in self.scores.items())
        intervals = tuple(interval for found in by_name for interval in found)
        return Measurements(
            self.rows("precise"), self.initial, self.scores, intervals, self.changes
        )

    def normalized_by_batch(self) -> tuple[NormSamples, ...]:
        """Return the samples at plain batch norms: others are made for few or related samples."""
        modules = dict(self.copy.named_modules())
        other = (Normalization, nn.SyncBatchNorm)
        found = ((norm, modules.get(norm.path.removeprefix("(root)"))) for norm in self.norms)
        return tuple(norm for norm, module in found if module and not isinstance(module, other))

    def sizes(self) -> dict[int, int]:
        """Return how many samples each batch has, by its index."""
        return {batch.index: batch.samples() or 1 for batch in self.read}

    def _scored(self, used: str) -> ForwardFunction:
        """Return a forward function that also notes the scores, under a kind of statistics."""
        sizes = {batch.index: batch for batch in self.read}

        def call(model: nn.Module, numbered: tuple[int, Any]) -> None:
            index, batch = numbered
            watching = self.watch.watching(model, index) if used == "batch" else nullcontext()
            with watching:
                output = self.call(model, batch)
            for name, score in self.functions.items():
                scored = scores_of(name, score(output, batch), sizes[index].samples())
                self.scores[name][used][index] = scored

        return call


def initial_weight(target: StatisticsTarget, saved: list[Tensor]) -> float:
    """Return the weight that the initial mean 0 and variance 1 still have in a moving average.

    That is (1 - momentum)^n after n batches, if it is a moving average from the start: statistics
    that were loaded or recomputed are not. So the weight counts only where the statistics come
    nearer to the precise ones when the initial values are subtracted.

    Args:
        target: holds the precise statistics.
        saved: the moving averages of means and variances, and how many batches were averaged.
    """
    mean, var = saved[:2]
    counter = None if target.counter is None else saved[2]
    if target.momentum is None or counter is None:
        return 0.0
    if not mean.any() and bool((var == 1).all()):
        return 1.0
    weight = (1 - target.momentum) ** int(counter)
    if weight >= 1:
        return 0.0

    def distance(mean: Tensor, var: Tensor) -> float:
        spread = target.var.double() + target.eps
        off = torch.cat([(mean - target.mean) / spread.sqrt(), (var - target.var) / spread])
        return float(off.square().mean())

    mean, var = mean.double(), var.double()
    without = distance(mean / (1 - weight), (var - weight) / (1 - weight))
    return weight if without < distance(mean, var) else 0.0

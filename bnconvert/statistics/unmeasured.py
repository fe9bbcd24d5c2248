"""Uses of statistics that cannot be measured: noticed during forwards, named in the report."""

import inspect
from collections.abc import Sequence
from types import FrameType

from torch import nn

from bnconvert.modules.kinds import kind_of
from bnconvert.reporting.table import listed
from bnconvert.statistics.targets import StatisticsTarget


class UnmeasuredUses:
    """What forwards do with statistics beyond normalizing by a target's as they are."""

    def __init__(self) -> None:
        """Start without any observation."""
        self._parts: dict[int, int] = {}  # by target index, how many channels
        self._readers: dict[int, set[str]] = {}
        self._others: dict[str, None] = {}

    def note_part(self, target: StatisticsTarget, channels: int) -> None:
        """Note that a forward normalizes by the statistics of some channels of a target."""
        self._parts[target.index] = channels

    def note_reader(self, target: StatisticsTarget, operator: str) -> None:
        """Note that an operator other than batch norm reads a target's statistics."""
        self._readers.setdefault(target.index, set()).add(operator)

    def note_other(self, replica: nn.Module, channels: int | None) -> None:
        """Note that the running forward normalizes by what no norm of the model holds.

        Args:
            replica: the model that runs.
            channels: how many its statistics have; None for the batch's own statistics.
        """
        caller = _calling_module(inspect.currentframe())
        if channels is None and caller is not None and kind_of(caller) is not None:
            return  # a norm without running statistics, which is listed as such
        paths = (path for path, module in replica.named_modules() if module is caller)
        where = next(paths, None)
        who = f"{where or '(root)'}" if where is not None else type(caller or replica).__name__
        if channels is None:
            fact = "normalizes by its input's own statistics (F.batch_norm without running ones)"
            self._others[f"{who}: {fact}; there is nothing to measure"] = None
        else:
            fact = f"normalizes by running statistics ({channels} channels) of no norm of the model"
            remedy = "hold an nn.BatchNorm module as a submodule and call it"
            self._others[f"{who}: {fact}: not measured; {remedy}"] = None

    def why_unreached(self, target: StatisticsTarget) -> str:
        """Return why no batch arrived at a target."""
        if target.index in self._parts:
            remedy = "call the norm itself, with all channels, or one of that width"
            return f"{self._part(target)}; {remedy}"
        if readers := self._readers.get(target.index):
            return (
                f"its statistics are used by {listed(sorted(readers))} and not by F.batch_norm, "
                "which is what can be measured; call F.batch_norm or the norm itself"
            )
        return "no batch reached it"

    def notes(self, reached: Sequence[StatisticsTarget]) -> list[str]:
        """Return notes on what was not measured, beside the targets that no batch reached."""
        partly = [target for target in reached if target.index in self._parts]
        return [
            f"{target.path}: measured only where all channels were used: {self._part(target)}"
            for target in partly
        ] + list(self._others)

    def _part(self, target: StatisticsTarget) -> str:
        part, whole = self._parts[target.index], target.mean.numel()
        return f"the forward normalizes by a part of its statistics ({part} of {whole} channels)"


def _calling_module(frame: FrameType | None) -> nn.Module | None:
    """Return the innermost module whose method is running."""
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module):
            return owner
        frame = frame.f_back
    return None

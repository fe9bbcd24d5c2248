"""The notes of a recomputation's report: what was left alone, skipped or repeated."""

from collections.abc import Mapping
from math import ceil, log

from torch import nn

from bnconvert.errors import StatisticsError
from bnconvert.reporting.table import listed
from bnconvert.statistics.batches import BatchReader
from bnconvert.statistics.targets import Targets
from bnconvert.statistics.task import TaskResult
from bnconvert.statistics.unmeasured import UnmeasuredUses

#: The weight that initial values may still have in a moving average.
_WASHED_OUT = 0.01
#: Where a PEFT model keeps the model that it adapts.
_IN_PEFT = "base_model.model."
_SEPARATE = 'Separate(domains="calls")'


def require_measured(targets: Targets, result: TaskResult, uses: UnmeasuredUses) -> None:
    """Raise where nothing was measured.

    Raises:
        StatisticsError: with the reason for each norm.
    """
    if any(_reached(result, target.index) for target in targets.measured):
        return
    reasons = [f"{target.path}: {uses.why_unreached(target)}" for target in targets.measured]
    reasons += [f"{path}: {reason}" for path, reason in targets.excluded.items()]
    raise StatisticsError("\n  ".join(("no statistics were measured", *reasons, *uses.notes([]))))


def reading_notes(reader: BatchReader) -> list[str]:
    """Return a note on batches that were left out unread."""
    if not reader.empty:
        return []
    return [f"left out, because they are empty: batch {listed([*map(str, reader.empty)])}"]


def measuring_notes(
    model: nn.Module, targets: Targets, result: TaskResult, method: str, uses: UnmeasuredUses
) -> list[str]:
    """Return the notes of the report: what is not saved, was left alone, skipped or repeated."""
    reached = [t for t in targets.measured if _reached(result, t.index)]
    notes = _adapter_notes(model, [target.path for target in reached])
    notes += [f"{path}: left alone: {reason}" for path, reason in targets.excluded.items()]
    notes += [
        f"{target.path}: left alone: {uses.why_unreached(target)}"
        for target in targets.measured
        if target not in reached
    ]
    notes += uses.notes(reached)
    notes += [f"batch {index} skipped: {why}" for index, why in sorted(result.skipped.items())]
    if result.inseparable:
        paths = ", ".join(targets.measured[index].path for index in sorted(result.inseparable))
        notes.append(
            f"{paths}: called several times in one forward, so that it cannot be measured "
            "layer by layer; measured over the calls, each normalized by its own mini-batch; "
            f"convert with {_SEPARATE} for statistics per call"
        )
    if result.passes > 1:
        notes.append(f"{result.passes} passes over the data were needed")
    return notes + (_momentum_notes(targets, result) if method == "ema" else [])


def _adapter_notes(model: nn.Module, paths: list[str]) -> list[str]:
    """Return a warning on norms whose statistics the file of a PEFT adapter will not hold.

    A module that PEFT saves whole has a copy inside a module `modules_to_save`.
    """
    adapts = any(isinstance(getattr(m, "peft_config", None), Mapping) for m in model.modules())
    lost = [path for path in paths if "modules_to_save" not in path.split(".")]
    if not adapts or not lost:
        return []
    names = ", ".join(f'"{path.removeprefix(_IN_PEFT)}"' for path in lost)
    return [
        f"{listed(lost)}: NOT SAVED WITH THE ADAPTER: the file of a PEFT adapter holds no buffers "
        f"of other modules; give modules_to_save=[{names}] in its config, or save the "
        "whole model"
    ]


def _reached(result: TaskResult, index: int) -> bool:
    return index in result.results and result.results[index].moments.count > 0


def _momentum_notes(targets: Targets, result: TaskResult) -> list[str]:
    """Return how many updates each momentum needs until the old values are forgotten.

    That is the least n with (1 - m)^n < 0.01.
    """
    needs: dict[float, list[int]] = {}
    for target in targets.measured:
        if (
            target.momentum is not None
            and 0 <= target.momentum < 1
            and target.index in result.results
        ):
            needs.setdefault(target.momentum, []).append(result.results[target.index].batches)
    return [_momentum_note(momentum, min(counts)) for momentum, counts in needs.items()]


def _momentum_note(momentum: float, had: int) -> str:
    """Return the note for one momentum, of which `had` updates were made."""
    if momentum == 0:
        return "momentum 0: nothing changes; set another momentum, or use another method"
    needed = ceil(log(_WASHED_OUT) / log(1 - momentum))
    left = (1 - momentum) ** had
    return (
        f"momentum {momentum:g} needs {needed} updates until the weight of the old values is below "
        f"1%; after the {had} that were made it is {left:.1%}"
    )

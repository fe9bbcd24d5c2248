"""Callbacks for the Trainer of Transformers: converted norms, schedules, precise statistics.

from bnconvert.integrations.transformers import ConvertNorms, PreciseStatistics

trainer = Trainer(model, arguments, callbacks=[ConvertNorms(bnc.Frozen())], ...)
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn
from torch.utils import _pytree as pytree
from transformers import TrainerCallback

from bnconvert.conversion.conversion import convert, convert_with_plan, plan
from bnconvert.conversion.plan import Plan
from bnconvert.conversion.policy import Policy
from bnconvert.errors import PolicyError, UnsupportedModelError
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.rewrite import Alternatives, Rewrite
from bnconvert.norms.frozen import Frozen
from bnconvert.norms.momentum import set_momentum
from bnconvert.reporting.report import Report
from bnconvert.statistics.ranks import all_ranks
from bnconvert.statistics.recomputation import recompute_statistics
from bnconvert.statistics.targets import find_targets


class ConvertNorms(TrainerCallback):  # type: ignore[misc]  # it is not there for the type checker
    """Converts the model's norms in place when the trainer is made, before its optimizer is.

    Attributes:
        plan: what each norm became.
    """

    def __init__(self, policy: Policy | Rewrite | Alternatives) -> None:
        """Take a policy, as `convert` does."""
        self.policy = policy
        self.plan: Plan | None = None

    def on_init_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Convert the trainer's model.

        Raises:
            RefusedError: a norm has no legal rewrite; nothing has been changed.
        """
        self.plan = convert_with_plan(given["model"], self.policy, inplace=True)[1]

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Look whether it is a converted model that is going to be trained.

        Raises:
            UnsupportedModelError: `model_init` has made another one, which has its optimizer.
        """
        if _awaits_conversion(given["model"], self.policy):
            raise UnsupportedModelError(
                "the trainer has made its model anew, by model_init, and it is not converted; "
                "leave ConvertNorms out and convert in model_init: "
                "model_init=lambda: bnconvert.convert(make(), policy)"
            )


class FreezeNorms(TrainerCallback):  # type: ignore[misc]
    """Freezes the running statistics from an epoch on: training then normalizes as eval does.

    The remedy of Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3.4, for small
    batches. Weight and bias go on learning, with the optimizer's state.
    """

    def __init__(self, from_epoch: int) -> None:
        """Take the epoch, counted from 0, that is the first with frozen statistics."""
        self.from_epoch = from_epoch
        self._frozen = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Begin again: a trainer may train several models."""
        self._frozen = False

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Freeze once the epoch has come."""
        if _epoch(state) >= self.from_epoch and not self._frozen:
            convert(given["model"], Frozen(affine="trainable"), inplace=True)
            self._frozen = True


class MomentumSchedule(TrainerCallback):  # type: ignore[misc]
    """Sets the momentum of all norms before each epoch, those of bnconvert too."""

    def __init__(self, schedule: Callable[[int], float]) -> None:
        """Take what returns the momentum of an epoch, which is counted from 0."""
        self.schedule = schedule

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Set this epoch's momentum.

        Raises:
            ValueError: it is not between 0 and 1.
        """
        set_momentum(given["model"], self.schedule(_epoch(state)))


class PreciseStatistics(TrainerCallback):  # type: ignore[misc]
    """Recomputes the running statistics before the trainer evaluates or saves.

    Training goes on from the precise ones. On several ranks they are those of all data. Where
    every norm is frozen there is nothing to do.

    Attributes:
        report: of the last time.
    """

    def __init__(
        self,
        *,
        max_samples: int | None = None,
        batches: Iterable[Any] | None = None,
        forward: Callable[[nn.Module, Any], Any] | None = None,
    ) -> None:
        """Say over what data.

        Args:
            max_samples: as for `recompute_statistics`; a few thousand are enough.
            batches: the data; by default those that the trainer trains on.
            forward: as for `recompute_statistics`; by default a batch is moved to the model's
                device and given as keyword arguments, labels too.
        """
        self.max_samples, self.batches, self.forward = max_samples, batches, forward
        self.report: Report | None = None
        self._last = -1

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Begin again: a trainer may train several models, each from its step 0."""
        self._last = -1

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Recompute where this step ends in an evaluation or a checkpoint."""
        self._recompute(state, control, given)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Recompute where this epoch ends in an evaluation or a checkpoint."""
        self._recompute(state, control, given)

    def _recompute(self, state: Any, control: Any, given: Mapping[str, Any]) -> None:
        wanted = control.should_evaluate or control.should_save
        if not wanted or state.global_step == self._last:
            return
        if not find_targets(given["model"]).measured:
            return
        self.report = recompute_statistics(
            given["model"],
            given["train_dataloader"] if self.batches is None else self.batches,
            forward=self.forward or _with_labels,
            max_samples=self.max_samples,
            process_group=all_ranks(),
        ).report
        self._last = state.global_step


def _awaits_conversion(model: nn.Module, policy: Policy | Rewrite | Alternatives) -> bool:
    """Tell whether a policy would replace a norm that is none of bnconvert; not of a wrapper."""
    try:
        edits = plan(model, policy).edits()
    except (PolicyError, UnsupportedModelError):
        return False
    return any(not isinstance(model.get_submodule(path), Normalization) for path in edits)


def _epoch(state: Any) -> int:
    """Return the epoch that begins or goes on, from 0; the trainer counts in fractions."""
    return int((state.epoch or 0) + 1e-6)


def _with_labels(model: nn.Module, batch: Mapping[str, Any]) -> Any:
    device = next(model.parameters()).device
    return model(**pytree.tree_map(lambda leaf: _moved(leaf, device), dict(batch)))


def _moved(leaf: Any, device: Any) -> Any:
    return leaf.to(device) if hasattr(leaf, "to") else leaf

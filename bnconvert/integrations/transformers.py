"""Callbacks for the Trainer of Hugging Face Transformers: converted norms, precise statistics.

from bnconvert.integrations.transformers import ConvertNorms, PreciseStatistics

trainer = Trainer(model, arguments, callbacks=[ConvertNorms(bnc.Frozen())], ...)
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn
from torch.utils import _pytree as pytree
from transformers import TrainerCallback

from bnconvert.conversion.conversion import convert_with_plan
from bnconvert.conversion.plan import Plan
from bnconvert.conversion.policy import Policy
from bnconvert.modules.rewrite import Alternatives, Rewrite
from bnconvert.reporting.report import Report
from bnconvert.statistics.ranks import all_ranks
from bnconvert.statistics.recomputation import recompute_statistics


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


class PreciseStatistics(TrainerCallback):  # type: ignore[misc]
    """Recomputes the running statistics before the trainer evaluates or saves.

    Training goes on from the precise ones. On several ranks they are those of all data.

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
        self.report = recompute_statistics(
            given["model"],
            given["train_dataloader"] if self.batches is None else self.batches,
            forward=self.forward or _with_labels,
            max_samples=self.max_samples,
            process_group=all_ranks(),
        ).report
        self._last = state.global_step


def _with_labels(model: nn.Module, batch: Mapping[str, Any]) -> Any:
    device = next(model.parameters()).device
    return model(**pytree.tree_map(lambda leaf: _moved(leaf, device), dict(batch)))


def _moved(leaf: Any, device: Any) -> Any:
    return leaf.to(device) if hasattr(leaf, "to") else leaf

"""Callbacks and a plugin for Lightning: converted norms, schedules, precise statistics, Sync.

    from bnconvert.integrations.lightning import ConvertNorms, PreciseStatistics

    trainer = Trainer(callbacks=[ConvertNorms(bnc.Frozen()), PreciseStatistics(max_samples=2000)])

`lightning` is used where it is installed, else `pytorch_lightning`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnconvert.conversion.conversion import convert, convert_with_plan, revert
from bnconvert.conversion.plan import Plan
from bnconvert.conversion.policy import Policy
from bnconvert.modules.kinds import norms_in
from bnconvert.modules.rewrite import Alternatives, Rewrite
from bnconvert.norms.frozen import Frozen
from bnconvert.norms.keep import Keep
from bnconvert.norms.momentum import set_momentum
from bnconvert.norms.sync import Sync, SyncNorm
from bnconvert.reporting.report import Report
from bnconvert.statistics.ranks import all_ranks
from bnconvert.statistics.recomputation import recompute_statistics
from bnconvert.statistics.targets import find_targets

try:
    from lightning.pytorch import Callback
    from lightning.pytorch.plugins import LayerSync
except ImportError:
    from pytorch_lightning import Callback
    from pytorch_lightning.plugins import LayerSync


class ConvertNorms(Callback):  # type: ignore[misc]  # Lightning is not there for the type checker
    """Converts the module's norms in place before Lightning makes optimizers and wraps the module.

    Frozen norms stay frozen through `BackboneFinetuning` and every other unfreezing: their
    parameters get no gradients, so that no optimizer moves them.

    Attributes:
        plan: what each norm became, once a fit has begun.
    """

    def __init__(self, policy: Policy | Rewrite | Alternatives) -> None:
        """Take a policy, as `convert` does."""
        self.policy = policy
        self.plan: Plan | None = None

    def setup(self, trainer: Any, pl_module: nn.Module, stage: str) -> None:
        """Convert where a fit begins.

        Raises:
            RefusedError: a norm has no legal rewrite; nothing has been changed.
        """
        if stage == "fit":
            self.plan = convert_with_plan(pl_module, self.policy, inplace=True)[1]


class FreezeNorms(Callback):  # type: ignore[misc]
    """Freezes the running statistics from an epoch on: training then normalizes as eval does.

    Small batches train well at first and stop short of what eval could reach (Wu and Johnson,
    "Rethinking 'Batch' in BatchNorm", 2021, section 3.4). Weight and bias go on learning, so that
    the optimizer and a wrapper such as DDP keep all the gradients that they wait for.
    """

    def __init__(self, from_epoch: int) -> None:
        """Take the epoch, counted from 0, that is the first with frozen statistics."""
        self.from_epoch = from_epoch
        self._frozen = False

    def on_train_epoch_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Freeze once the epoch has come."""
        if trainer.current_epoch >= self.from_epoch and not self._frozen:
            convert(pl_module, Frozen(affine="trainable"), inplace=True)
            self._frozen = True


class MomentumSchedule(Callback):  # type: ignore[misc]
    """Sets the momentum of all norms before each epoch, those of bnconvert too.

    Nothing is kept between epochs, so that a fit that is resumed has the epoch's momentum.
    """

    def __init__(self, schedule: Callable[[int], float]) -> None:
        """Take what returns the momentum of an epoch, which is counted from 0."""
        self.schedule = schedule

    def on_train_epoch_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Set this epoch's momentum.

        Raises:
            ValueError: it is not between 0 and 1.
        """
        set_momentum(pl_module, self.schedule(trainer.current_epoch))


class PreciseStatistics(Callback):  # type: ignore[misc]
    """Recomputes the running statistics before validation and before a checkpoint is saved.

    Training goes on from the precise ones. On several ranks they are those of all data. Where
    every norm is frozen there is nothing to do.

    Attributes:
        report: of the last time.
    """

    def __init__(
        self,
        *,
        every_n_epochs: int = 1,
        max_samples: int | None = None,
        batches: Iterable[Any] | None = None,
        forward: Callable[[nn.Module, Any], Any] | None = None,
    ) -> None:
        """Say how often, and over what data.

        Args:
            every_n_epochs: 1 means each.
            max_samples: as for `recompute_statistics`; a few thousand are enough.
            batches: the data; by default those that the trainer trains on.
            forward: as for `recompute_statistics`; by default a batch's inputs are found in it.
        """
        self.every_n_epochs, self.max_samples = every_n_epochs, max_samples
        self.batches, self.forward = batches, forward
        self.report: Report | None = None
        self._last = -1

    def on_validation_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Recompute before a validation inside of a fit."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._recompute(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """Recompute at the end of an epoch without validation; checkpoints are saved after it."""
        if self._last != trainer.current_epoch:
            self._recompute(trainer, pl_module)

    def _recompute(self, trainer: Any, pl_module: nn.Module) -> None:
        epoch: int = trainer.current_epoch
        if (epoch + 1) % self.every_n_epochs or not find_targets(pl_module).measured:
            return
        batches = trainer.train_dataloader if self.batches is None else self.batches
        self.report = recompute_statistics(
            pl_module,
            _OnDevice(batches, trainer.strategy.batch_to_device),
            forward=self.forward,
            max_samples=self.max_samples,
            process_group=all_ranks(),
        ).report
        self._last = epoch


class _OnDevice:
    """Batches, moved to the trainer's device one by one."""

    def __init__(self, batches: Iterable[Any], move: Callable[[Any], Any]) -> None:
        self._batches, self._move = batches, move

    def __iter__(self) -> Iterator[Any]:
        return map(self._move, self._batches)


class SyncNorms(LayerSync):  # type: ignore[misc]
    """Synchronizes batch norms with `bnc.Sync`, which trains on the CPU too and unequal batches.

    For `Trainer(plugins=[SyncNorms()])`, in the place of `sync_batchnorm=True`.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Convert torch's batch norms in place; norms that were converted before stay.

        Raises:
            RefusedError: a norm has no legal rewrite; nothing has been changed.
        """
        norms = [(path, isinstance(norm, _BatchNorm)) for path, norm, _ in norms_in(model)]
        rules: dict[str, Rewrite] = {path: Sync() for path, plain in norms if plain}
        if not rules:
            return model
        others: dict[str, Rewrite] = {path: Keep() for path, plain in norms if not plain}
        return convert(model, Policy({**rules, **others}), inplace=True)

    def revert(self, model: nn.Module) -> nn.Module:
        """Give every norm that synchronizes its torch class back, and no other norm."""
        plain: dict[int, nn.Module] = {}
        for path, module in [*model.named_modules(remove_duplicate=False)]:
            if isinstance(module, SyncNorm) and path:
                plain.setdefault(id(module), revert(module))
                model.set_submodule(path, plain[id(module)])
        return model

"""Callbacks and a plugin for Lightning: converted norms, schedules, precise statistics, Sync.

    from bnconvert.integrations.lightning import ConvertNorms, PreciseStatistics

    trainer = Trainer(callbacks=[ConvertNorms(bnc.Frozen()), PreciseStatistics(max_samples=2000)])

`lightning` is used where it is installed, else `pytorch_lightning`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnconvert.conversion.conversion import convert, convert_with_plan, plan, revert
from bnconvert.conversion.plan import Plan
from bnconvert.conversion.policy import Policy
from bnconvert.integrations.lightning_batches import TrainingBatches
from bnconvert.integrations.module_copies import require_alike
from bnconvert.integrations.training_modes import in_modes, modes_of
from bnconvert.modules.digests import digest_of, tensor_digest
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
            UnsupportedModelError: a callback before this one has copied the module, and would
                average tensors that are no longer the same.
        """
        if stage != "fit":
            return
        if any(isinstance(held, nn.Module) for c in trainer.callbacks for held in vars(c).values()):
            edits = plan(pl_module, self.policy).edits()
            remedy = "put ConvertNorms before it in the trainer's callbacks"
            require_alike(trainer.callbacks, pl_module, edits, remedy)
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

    def on_fit_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Begin again: one callback may be given to several trainers."""
        self._frozen = False

    def on_train_epoch_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Freeze once the epoch has come."""
        if trainer.current_epoch >= self.from_epoch and not self._frozen:
            frozen = Frozen(affine="trainable")
            remedy = "freeze norms of torch's own classes, or do without the average"
            require_alike(trainer.callbacks, pl_module, plan(pl_module, frozen).edits(), remedy)
            convert(pl_module, frozen, inplace=True)
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

    They are those of the weights that are validated, and that the fit ends with: of averaged ones
    where a callback puts them into the module (`EMAWeightAveraging`, `StochasticWeightAveraging`).
    Training goes on from the precise ones. On several ranks they are those of all data. Norms
    that are in eval mode while the rest trains are frozen, and stay as they are. Where every norm
    is frozen there is nothing to do.

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
        self._modes: dict[str, bool] = {}
        self._last, self._measured, self._trained = -1, "", ""

    def on_fit_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Begin again: one callback may be given to several trainers."""
        self._modes, self._last, self._measured, self._trained = {}, -1, "", ""

    def on_train_batch_end(self, trainer: Any, pl_module: nn.Module, *_: Any) -> None:
        """Note which norms are in eval mode in training: in a validation all of them are."""
        self._modes = modes_of(pl_module)

    def on_validation_batch_start(
        self,
        trainer: Any,
        pl_module: nn.Module,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Recompute before a validation inside of a fit, when all callbacks have prepared it."""
        begins = batch_idx == 0 and dataloader_idx == 0
        if begins and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._recompute(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """Recompute where the weights were not validated; checkpoints are saved after it."""
        self._trained = _digest(pl_module)
        if self._last != trainer.current_epoch or self._measured != self._trained:
            self._recompute(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """Recompute where a callback has changed the weights since the last epoch."""
        if self._trained and _digest(pl_module) not in (self._trained, self._measured):
            self._measure(trainer, pl_module)

    #: The same once more, for callbacks that come after this one.
    on_fit_end = on_train_end

    def _recompute(self, trainer: Any, pl_module: nn.Module) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._measure(trainer, pl_module)

    def _measure(self, trainer: Any, pl_module: nn.Module) -> None:
        with in_modes(pl_module, self._modes), trainer.precision_plugin.forward_context():
            if not find_targets(pl_module).measured:
                return
            self.report = recompute_statistics(
                pl_module,
                TrainingBatches(trainer, self.batches),
                forward=self.forward,
                max_samples=self.max_samples,
                process_group=all_ranks(),
            ).report
        self._last, self._measured = trainer.current_epoch, _digest(pl_module)


def _digest(module: nn.Module) -> str:
    return digest_of(map(tensor_digest, module.parameters()))


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
        """Give every norm that synchronizes its torch class back, and no other norm.

        The parameters stay the same objects, for whoever holds them.
        """
        plain: dict[int, nn.Module] = {}
        for path, module in [*model.named_modules(remove_duplicate=False)]:
            if isinstance(module, SyncNorm) and path:
                plain.setdefault(id(module), revert(module, inplace=True))
                model.set_submodule(path, plain[id(module)])
        return model

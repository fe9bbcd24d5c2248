"""The batches that a trainer of Lightning trains on, as its loops prepare them."""

from collections.abc import Iterable, Iterator
from typing import Any

try:
    from lightning.pytorch.core.hooks import DataHooks
    from lightning.pytorch.utilities.combined_loader import CombinedLoader
except ImportError:
    from pytorch_lightning.core.hooks import DataHooks
    from pytorch_lightning.utilities.combined_loader import CombinedLoader


class TrainingBatches:
    """Batches in the trainer's precision and on its device, after the module's own hooks.

    Of several loaders, one batch of each at a time, until the shortest ends.
    """

    def __init__(self, trainer: Any, batches: Iterable[Any] | None) -> None:
        """Take the user's batches, or else those that the trainer trains on."""
        self.trainer = trainer
        self.loaders = trainer.train_dataloader if batches is None else batches
        self.are_several = batches is None and isinstance(self.loaders, dict | list | tuple)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches, prepared one by one."""
        trainer = self.trainer
        for batch in self._combined() if self.are_several else self.loaders:
            converted = trainer.precision_plugin.convert_input(batch)
            hooked = self._hooks().on_before_batch_transfer(converted, 0)
            yield trainer.strategy.batch_to_device(hooked)

    def _hooks(self) -> Any:
        """Return what has the hook: the data module where it has its own, else the module."""
        data = self.trainer.datamodule
        own = getattr(type(data), "on_before_batch_transfer", None)
        default = DataHooks.on_before_batch_transfer
        return self.trainer.lightning_module if own in (None, default) else data

    def _combined(self) -> Iterator[Any]:
        for batch, _, _ in iter(CombinedLoader(self.loaders, "min_size")):
            yield batch

"""Statistics are measured on batches as the trainer's own loops prepare them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import bnconvert as bnc
from tests.integrations.digits import digits
from tests.integrations.test_lightning import Classifier, fit

pl = pytest.importorskip("lightning.pytorch")
pytestmark = pytest.mark.filterwarnings("default")


def distance(module: nn.Module, x: Tensor) -> float:
    """Return how far the statistics are from those of the inputs, in sigma."""
    rows = bnc.recompute_statistics(module.eval(), [x]).report.statistics
    return max(
        d for row in rows for d in (row.mean_distance, row.deviation_distance) if d is not None
    )


@pytest.mark.parametrize(
    ("precision", "dtype", "near"),
    [("64-true", torch.float64, 1e-6), ("bf16-true", torch.bfloat16, 0.05)],
)
def test_in_the_precision_of_the_training(precision: str, dtype: torch.dtype, near: float) -> None:
    from bnconvert.integrations.lightning import PreciseStatistics

    module = Classifier(momentum=0.005)
    fit(module, [PreciseStatistics()], epochs=1, precision=precision)
    assert distance(module.network, digits()[0].tensors[0].to(dtype)) < near


def test_after_the_hooks_that_change_a_batch() -> None:
    from bnconvert.integrations.lightning import PreciseStatistics

    class Hooked(Classifier):
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [batch[0] + 3, batch[1]]

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [batch[0] * 2, batch[1]]

    module = Hooked()
    fit(module, [PreciseStatistics()], epochs=1)
    assert distance(module.network, (digits()[0].tensors[0] + 3) * 2) < 1e-3


def test_of_several_loaders_together() -> None:
    from bnconvert.integrations.lightning import PreciseStatistics

    class Paired(Classifier):
        def training_step(self, batch: Any, index: int) -> Tensor:
            losses = [self(x).square().mean() for x, _ in batch.values()]
            return torch.stack(losses).mean()

        def train_dataloader(self) -> Any:
            loader = DataLoader(digits()[0], 60)
            return {"labelled": loader, "unlabelled": loader}

    module = Paired()
    precise = PreciseStatistics(forward=lambda model, batch: model(batch["unlabelled"][0]))
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[precise],
    )
    trainer.fit(module)
    assert distance(module.network, digits()[0].tensors[0]) < 1e-3

"""Real fits with Lightning: what is frozen stays, and validation sees precise statistics."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import bnconvert as bnc
from tests.integrations.digits import Network, digits

pl = pytest.importorskip("lightning.pytorch")
pytestmark = pytest.mark.filterwarnings("default")  # Lightning's advice about workers and loggers


class Classifier(pl.LightningModule):  # type: ignore[misc,name-defined]
    """Digits; the norms' running statistics are too slow for a short training by default."""

    def __init__(self, momentum: float = 0.1) -> None:
        super().__init__()
        self.network = Network(momentum)
        self.losses: list[float] = []

    @property
    def backbone(self) -> nn.Module:
        """What `BackboneFinetuning` freezes and unfreezes."""
        return self.network.backbone

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network(x)
        return scores

    def training_step(self, batch: Any, index: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.losses.append(float(nn.functional.cross_entropy(self(batch[0]), batch[1])))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trainable = filter(lambda p: p.requires_grad, self.parameters())
        return torch.optim.AdamW(trainable, lr=3e-3, weight_decay=0.1)


def fit(module: Classifier, callbacks: list[Any], epochs: int = 3, **settings: Any) -> Any:
    train, validation = digits()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        **settings,
    )
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(train, 60, shuffle=True, generator=generator)
    trainer.fit(module, loader, DataLoader(validation, 400))
    return trainer


def norms(module: nn.Module) -> dict[str, Tensor]:
    return {
        f"{path}.{name}": tensor.detach().clone()
        for path, norm in module.named_modules()
        if isinstance(norm, nn.Module) and "Norm" in type(norm).__name__
        for name, tensor in norm.state_dict().items()
    }


def test_frozen_norms_survive_the_unfreezing_of_a_backbone_bit_for_bit() -> None:
    from lightning.pytorch.callbacks import BackboneFinetuning

    from bnconvert.integrations.lightning import ConvertNorms

    module = Classifier()
    bnc.recompute_statistics(module.network, [digits()[0].tensors[0][:200]])
    before = norms(module)
    weight = module.get_parameter("network.backbone.0.weight")
    learned = weight.detach().clone()
    converting = ConvertNorms(bnc.Frozen())
    finetuning = BackboneFinetuning(unfreeze_backbone_at_epoch=1, verbose=False)
    fit(module, [converting, finetuning])
    assert converting.plan is not None
    assert not torch.equal(weight, learned), "the backbone was unfrozen"
    after = norms(module)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_precise_statistics_before_validation_lower_its_loss() -> None:
    from bnconvert.integrations.lightning import PreciseStatistics

    losses = {}
    for callbacks in ([], [PreciseStatistics()]):
        torch.manual_seed(0)
        module = Classifier(momentum=0.005)
        fit(module, callbacks, epochs=8)
        losses[len(callbacks)] = module.losses[-1]
    assert losses[1] < 0.7 * losses[0]


def test_they_are_recomputed_where_there_is_no_validation_and_as_often_as_asked() -> None:
    from bnconvert.integrations.lightning import PreciseStatistics

    module, precise = Classifier(), PreciseStatistics(every_n_epochs=2, max_samples=120)
    counted: list[int] = []

    class Counted(pl.Callback):  # type: ignore[misc,name-defined]
        def on_train_epoch_end(self, trainer: Any, pl_module: nn.Module) -> None:
            counted.append(trainer.current_epoch if precise.report else -1)
            precise.report = None

    fit(module, [precise, Counted()], epochs=4, limit_val_batches=0)
    assert counted == [-1, 1, -1, 3]


def test_statistics_are_frozen_from_an_epoch_on_and_the_affine_part_learns() -> None:
    """Precise ones are measured as long as there is a norm to measure."""
    from bnconvert.integrations.lightning import FreezeNorms, PreciseStatistics

    seen: list[dict[str, Tensor]] = []

    class Seen(pl.Callback):  # type: ignore[misc,name-defined]
        def on_train_epoch_end(self, trainer: Any, pl_module: nn.Module) -> None:
            seen.append(norms(pl_module))

    precise = PreciseStatistics(max_samples=64)
    fit(Classifier(), [FreezeNorms(from_epoch=1), precise, Seen()])
    assert precise.report is not None
    mean, weight = "network.backbone.1.running_mean", "network.backbone.1.weight"
    assert torch.equal(seen[0][mean], seen[2][mean])
    assert not torch.equal(seen[0][weight], seen[2][weight])


def test_the_plugin_synchronizes_and_reverts_its_own_norms_only() -> None:
    from bnconvert.integrations.lightning import SyncNorms

    model = bnc.convert(Network(), bnc.Policy({"backbone.1": bnc.Frozen(), "*": bnc.Keep()}))
    frozen, state = model.get_submodule("backbone.1"), copy.deepcopy(model.state_dict())
    parameters = [*model.parameters()]
    plugin = SyncNorms()
    plugin.apply(model)
    assert type(model.get_submodule("backbone.4")).__name__ == "SyncNorm"
    plugin.revert(model)
    assert type(model.get_submodule("backbone.4")) is nn.BatchNorm2d
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert type(model.get_submodule("backbone.1")) is type(frozen)
    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))


def test_the_trainer_takes_the_plugin() -> None:
    from bnconvert.integrations.lightning import SyncNorms

    module = Classifier()
    fit(module, [], epochs=1, plugins=[SyncNorms()])
    norm = module.get_submodule("network.backbone.1")
    assert type(norm) is nn.BatchNorm2d, "reverted after the fit"
    assert int(norm.get_buffer("num_batches_tracked")) == 10


def test_a_schedule_sets_the_momentum_of_converted_norms_before_each_epoch() -> None:
    from bnconvert.integrations.lightning import ConvertNorms, MomentumSchedule

    seen: list[set[Any]] = []

    class Seen(pl.Callback):  # type: ignore[misc,name-defined]
        def on_train_epoch_end(self, trainer: Any, pl_module: nn.Module) -> None:
            seen.append({m.momentum for m in pl_module.modules() if hasattr(m, "momentum")})

    half = bnc.Policy({"*backbone.1": bnc.Ghost(15), "*": bnc.Keep()})
    callbacks = [ConvertNorms(half), MomentumSchedule(lambda epoch: 0.5**epoch), Seen()]
    fit(Classifier(), callbacks, limit_train_batches=1, limit_val_batches=0)
    assert seen == [{1.0}, {0.5}, {0.25}]


@pytest.mark.slow
def test_a_compiled_module_is_converted_and_measured() -> None:
    from bnconvert.integrations.lightning import ConvertNorms, PreciseStatistics

    module, precise = Classifier(), PreciseStatistics()
    compiled = torch.compile(module, backend="eager")
    fit(compiled, [ConvertNorms(bnc.Ghost(30)), precise], epochs=1)  # type: ignore[arg-type]
    assert type(module.network.backbone[1]).__name__ == "GhostNorm"
    assert precise.report is not None
    assert len(precise.report.statistics) == 2

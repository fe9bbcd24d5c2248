"""Real runs of Transformers' Trainer: what is frozen stays, evaluation sees precise statistics."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import bnconvert as bnc
from tests.integrations.digits import Network, digits

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytestmark = pytest.mark.filterwarnings("default")


class Labelled(Dataset[dict[str, Tensor]]):
    """Samples by name, as the trainer collates them."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x, y = self.data[index]
        return {"x": x, "labels": y}


class WithLoss(nn.Module):
    """A network that returns its loss, as the trainer wants it."""

    def __init__(self, momentum: float = 0.1) -> None:
        super().__init__()
        self.network = Network(momentum)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        scores = self.network(x)
        return {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}


def arguments_for(folder: Path, **others: Any) -> Any:
    return transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=60,
        eval_strategy="epoch",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **others,
    )


def train(model: nn.Module, callbacks: list[Any], folder: Path, epochs: int = 8) -> Any:
    torch.manual_seed(0)
    arguments = arguments_for(
        folder,
        num_train_epochs=epochs,
        per_device_eval_batch_size=400,
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        weight_decay=0.1,
    )
    sets = [Labelled(data) for data in digits()]
    trainer = transformers.Trainer(
        model, arguments, train_dataset=sets[0], eval_dataset=sets[1], callbacks=callbacks
    )
    trainer.train()
    return trainer


def test_frozen_norms_do_not_move(tmp_path: Path) -> None:
    from bnconvert.integrations.transformers import ConvertNorms, PreciseStatistics

    model = WithLoss()
    bnc.recompute_statistics(model.network, [digits()[0].tensors[0][:200]])
    norms = [model.network.backbone[place] for place in (1, 4)]
    before = [{name: t.clone() for name, t in norm.state_dict().items()} for norm in norms]
    converting, precise = ConvertNorms(bnc.Frozen()), PreciseStatistics()
    train(model, [converting, precise], tmp_path)
    assert precise.report is None  # there is nothing to measure
    assert converting.plan is not None
    for place, old in zip((1, 4), before, strict=True):
        new = model.network.backbone[place].state_dict()
        assert all(torch.equal(old[name], new[name]) for name in old)


def test_precise_statistics_lower_the_loss_of_an_evaluation(tmp_path: Path) -> None:
    from bnconvert.integrations.transformers import PreciseStatistics

    losses = []
    for callbacks in ([], [PreciseStatistics(max_samples=600)]):
        torch.manual_seed(0)
        trainer = train(WithLoss(momentum=0.005), callbacks, tmp_path)
        (*_, last) = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
        losses.append(last)
    assert losses[1] < 0.7 * losses[0]


def test_norms_freeze_late_and_their_momentum_follows_a_schedule(tmp_path: Path) -> None:
    from bnconvert.integrations.transformers import FreezeNorms, MomentumSchedule

    seen: list[tuple[set[float], Tensor, Tensor]] = []

    class Seen(transformers.TrainerCallback):  # type: ignore[misc,name-defined]
        def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            first = given["model"].network.backbone[1]
            momenta = {m.momentum for m in given["model"].modules() if hasattr(m, "momentum")}
            seen.append((momenta, first.running_mean.clone(), first.weight.detach().clone()))

    schedule = MomentumSchedule(lambda epoch: 0.5**epoch)
    train(WithLoss(), [schedule, FreezeNorms(from_epoch=2), Seen()], tmp_path, epochs=4)
    assert [momenta for momenta, _, _ in seen[:2]] == [{1.0}, {0.5}]
    assert not torch.equal(seen[0][1], seen[1][1])
    assert torch.equal(seen[1][1], seen[3][1])
    assert not torch.equal(seen[1][2], seen[3][2])


def trainer_of_several(callbacks: list[Any], folder: Path) -> Any:
    """Return a trainer that makes its model anew for each training."""
    arguments = arguments_for(folder, num_train_epochs=1)
    sets = [Labelled(data) for data in digits()]
    return transformers.Trainer(
        model_init=WithLoss,
        args=arguments,
        train_dataset=sets[0],
        eval_dataset=sets[1],
        callbacks=callbacks,
    )


def test_each_of_several_trainings_is_frozen_and_measured(tmp_path: Path) -> None:
    from bnconvert.integrations.transformers import FreezeNorms, PreciseStatistics

    precise = PreciseStatistics()
    reports: list[Any] = []
    kinds: list[str] = []
    for callbacks in ([precise], [FreezeNorms(from_epoch=0)]):
        trainer = trainer_of_several(callbacks, tmp_path)
        for _ in range(2):
            precise.report = None
            trainer.train()
            reports.append(precise.report)
            kinds.append(type(trainer.model.network.backbone[1]).__name__)
    assert None not in reports[:2]
    assert kinds == ["BatchNorm2d", "BatchNorm2d", "FrozenNorm", "FrozenNorm"]


def test_a_model_that_the_trainer_makes_anew_is_not_trained_unconverted(tmp_path: Path) -> None:
    from bnconvert.integrations.transformers import ConvertNorms

    trainer = trainer_of_several([ConvertNorms(bnc.Ghost(8))], tmp_path)
    with pytest.raises(bnc.UnsupportedModelError, match=r"convert in model_init: model_init="):
        trainer.train()
    trainer = trainer_of_several([], tmp_path)
    trainer.model_init = lambda: bnc.convert(WithLoss(), bnc.Ghost(8))
    trainer.train()
    assert type(trainer.model.network.backbone[1]).__name__ == "GhostNorm"


def test_a_training_that_is_resumed_within_an_epoch_is_in_this_epoch(tmp_path: Path) -> None:
    from bnconvert.integrations.transformers import MomentumSchedule

    seen: list[int] = []

    def momentum(epoch: int) -> float:
        seen.append(epoch)
        return 0.1

    schedule = MomentumSchedule(momentum)
    for steps, resumed in ((16, False), (30, True)):  # of ten an epoch
        seen.clear()
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=steps,
            save_strategy="steps",
            save_steps=16,
            per_device_train_batch_size=60,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = transformers.Trainer(
            WithLoss(), arguments, train_dataset=Labelled(digits()[0]), callbacks=[schedule]
        )
        trainer.train(resume_from_checkpoint=resumed)
    assert seen == [1, 2]

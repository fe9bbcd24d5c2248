"""Validation and the end of a fit have precise statistics of just those weights."""

from typing import Any

import pytest
import torch

import bnconvert as bnc
from tests.integrations.digits import digits
from tests.integrations.test_lightning import Classifier, fit
from tests.integrations.test_lightning_batches import distance

pl = pytest.importorskip("lightning.pytorch")
pytestmark = pytest.mark.filterwarnings("default")


class Validated(Classifier):
    """Notes in each validation how far the statistics are from those of the training data."""

    def __init__(self, momentum: float = 0.01) -> None:
        super().__init__(momentum)
        self.distances: list[float] = []

    def validation_step(self, batch: Any, index: int) -> None:
        self.distances.append(distance(bnc.revert(self.network), digits()[0].tensors[0]))


def averaging(name: str) -> Any:
    from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging

    if name == "swa":
        return StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)
    return EMAWeightAveraging(decay=0.9)


@pytest.mark.parametrize("first", ["average", "statistics"])
@pytest.mark.parametrize("policy", [bnc.Keep(), bnc.Ghost(30)], ids=repr)
@pytest.mark.parametrize("name", ["swa", "ema"])
def test_averaged_weights_have_statistics_of_their_own(name: str, policy: Any, first: str) -> None:
    from bnconvert.integrations.lightning import ConvertNorms, PreciseStatistics

    callbacks = [averaging(name), PreciseStatistics()][:: 1 if first == "average" else -1]
    module = Validated()
    fit(module, [ConvertNorms(policy), *callbacks], epochs=2)
    assert max(module.distances) < 1e-3
    assert distance(module.network, digits()[0].tensors[0]) < 1e-3


def test_steps_after_a_validation_in_the_middle_of_an_epoch_count() -> None:
    from bnconvert.integrations.lightning import PreciseStatistics

    module = Validated()
    fit(module, [PreciseStatistics()], epochs=1, val_check_interval=0.4)
    assert len(module.distances) == 2
    assert max(module.distances) < 1e-3
    assert distance(module.network, digits()[0].tensors[0]) < 1e-3


def test_norms_that_are_in_eval_mode_in_training_are_not_measured_in_a_validation() -> None:
    from bnconvert.integrations.lightning import PreciseStatistics

    module, precise = Validated(), PreciseStatistics()
    frozen = module.network.backbone[1].eval()
    fit(module, [precise], epochs=2)
    assert torch.equal(frozen.get_buffer("running_mean"), torch.zeros(16))
    assert precise.report is not None
    assert [row.path for row in precise.report.statistics] == ["network.backbone.4"]


def test_a_training_is_the_same_as_without() -> None:
    from bnconvert.integrations.lightning import PreciseStatistics

    weights = []
    for callbacks in ([], [PreciseStatistics()]):
        torch.manual_seed(0)
        module = Classifier()
        fit(module, callbacks, epochs=2, val_check_interval=0.3, accumulate_grad_batches=3)
        weights.append([p.detach() for p in module.parameters()])
    assert all(map(torch.equal, *weights))


def test_a_fit_without_an_epoch_measures_nothing() -> None:
    from bnconvert.integrations.lightning import PreciseStatistics

    module, precise = Classifier(), PreciseStatistics()
    fit(module, [precise], epochs=0)
    assert precise.report is None
    assert torch.equal(module.network.backbone[1].get_buffer("running_mean"), torch.zeros(16))

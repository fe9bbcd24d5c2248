"""Callbacks that average a module's tensors pair them with those of converted norms, or refuse."""

import pytest
import torch
from torch import nn

import bnconvert as bnc
from tests.integrations.test_lightning import Classifier, fit

pytestmark = pytest.mark.filterwarnings("default")


def test_an_average_that_was_copied_before_is_refused_and_nothing_has_changed() -> None:
    from lightning.pytorch.callbacks import EMAWeightAveraging

    from bnconvert.integrations.lightning import ConvertNorms

    module = Classifier()
    message = "holds a copy of the module .* put ConvertNorms before it"
    with pytest.raises(bnc.UnsupportedModelError, match=message):
        fit(module, [EMAWeightAveraging(), ConvertNorms(bnc.Renorm())])
    assert type(module.network.backbone[1]) is nn.BatchNorm2d
    converting = [ConvertNorms(bnc.Renorm()), EMAWeightAveraging(decay=0.5)]
    fit(module, converting, epochs=1)
    assert bool(module.network.backbone[1].get_buffer("running_var").isfinite().all())
    fit(module, [*reversed(converting)], epochs=1)  # they are converted by now


def test_an_average_of_parameters_alone_may_be_copied_before() -> None:
    from lightning.pytorch.callbacks import StochasticWeightAveraging

    from bnconvert.integrations.lightning import ConvertNorms

    averaged = []
    for order in (1, -1):
        torch.manual_seed(0)
        module = Classifier()
        swa = StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)
        fit(module, [ConvertNorms(bnc.Renorm()), swa][::order])
        averaged.append([p.detach() for p in module.parameters()])
    assert all(map(torch.equal, *averaged))


def test_norms_that_lose_a_buffer_while_an_average_runs_are_refused() -> None:
    from lightning.pytorch.callbacks import EMAWeightAveraging

    from bnconvert.integrations.lightning import ConvertNorms, FreezeNorms

    average, freezing = EMAWeightAveraging(decay=0.5), FreezeNorms(from_epoch=1)
    with pytest.raises(bnc.UnsupportedModelError, match="do without the average"):
        fit(Classifier(), [ConvertNorms(bnc.Renorm()), average, freezing])
    fit(Classifier(), [EMAWeightAveraging(decay=0.5), FreezeNorms(from_epoch=1)])

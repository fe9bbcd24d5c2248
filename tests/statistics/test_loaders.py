"""A training that is measured in the middle of an epoch sees the same batches as without."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

import bnconvert as bnc
from bnconvert.statistics.loaders import undisturbed

IMAGES = TensorDataset(torch.randn(40, 4, generator=torch.Generator().manual_seed(0)))


Measure = Callable[[nn.Module, Any], object]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))


def evaluate(model: nn.Module, loader: Any) -> None:
    with bnc.measured(model, loader, max_samples=16):
        model(torch.zeros(2, 4))


def epochs(loader: Any, measure: Measure | None) -> list[Tensor]:
    """Return what two epochs of a training see, which is measured in the middle of each."""
    model = network()
    torch.manual_seed(0)
    seen = []
    for _ in range(2):
        for index, (x,) in enumerate(loader):
            seen.append(x)
            if measure is not None and index == 1:
                measure(model, loader)
    return seen


def own_generator() -> dict[str, Any]:
    return {"shuffle": True, "generator": torch.Generator().manual_seed(1)}


def drawing_on_the_way() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    return {"sampler": RandomSampler(IMAGES, replacement=True, generator=generator)}


ORDERS: dict[str, Callable[[], dict[str, Any]]] = {
    "torch's generator": lambda: {"shuffle": True},
    "its generator": own_generator,
    "its sampler's": drawing_on_the_way,
    "persistent workers": lambda: {"shuffle": True, "num_workers": 1, "persistent_workers": True},
}
MEASURES: dict[str, Measure] = {
    "recompute": bnc.recompute_statistics,
    "part of it": lambda model, loader: bnc.recompute_statistics(model, loader, max_samples=16),
    "diagnose": bnc.diagnose,
    "measured": evaluate,
}


@pytest.mark.filterwarnings(
    "ignore:.*fork:DeprecationWarning"
)  # of Python 3.12, by torch's workers
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("order", ORDERS)
def test_training_sees_the_same_batches_as_without(order: str, measure: str) -> None:
    without = epochs(DataLoader(IMAGES, 8, **ORDERS[order]()), None)
    seen = epochs(DataLoader(IMAGES, 8, **ORDERS[order]()), MEASURES[measure])
    assert len(seen) == len(without) == 10
    assert all(map(torch.equal, seen, without))


def test_a_measurement_sees_all_batches_from_the_first_on() -> None:
    loader = DataLoader(IMAGES, 8)
    next(iter(loader))
    model = nn.Sequential(nn.BatchNorm1d(4))
    bnc.recompute_statistics(model, loader)
    assert torch.allclose(model[0].get_buffer("running_mean"), IMAGES.tensors[0].mean(0), atol=1e-6)


def test_accelerate_synchronizes_gradients_in_the_same_steps() -> None:
    accelerate = pytest.importorskip("accelerate")
    flags: list[list[bool]] = []
    for measures in (False, True):
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=3)
        model, loader = accelerator.prepare(network(), DataLoader(IMAGES, 8))
        flags.append([])
        for index, _ in enumerate(loader):
            with accelerator.accumulate(model):
                flags[-1].append(accelerator.sync_gradients)
            if measures and index in (0, 3):
                bnc.recompute_statistics(model, loader, max_samples=None if index else 16)
    assert flags[0] == flags[1] == [False, False, True, False, True]


def test_loaders_inside_of_others_are_found_and_restored_after_an_error() -> None:
    inner = DataLoader(IMAGES, 8, **own_generator())
    outer = type("Moving", (), {})()
    outer.loaders = {"a": [inner]}
    state, attributes = inner.generator.get_state(), dict(vars(inner))

    def fail() -> None:
        list(inner)
        inner.prefetched = 3
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"), undisturbed(outer):
        fail()
    assert torch.equal(inner.generator.get_state(), state)
    assert vars(inner) == attributes

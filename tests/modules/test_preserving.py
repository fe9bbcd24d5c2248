"""What copies of a model must not change while they run; some is reached in ways nobody can see."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.modules.preserving import preserved, refusing_calls, restored

X = torch.randn(4, 4, 5, generator=torch.Generator().manual_seed(0))
SEEN: dict[str, Any] = {}


@functools.cache
def grid(count: int) -> Tensor:
    return torch.arange(count).float()


class Recorder:
    last: Any = None

    def __call__(self, *call: Any) -> None:
        self.last = call


class Caching(nn.Module):
    """It keeps tensors on its class, in a global, in a cached function and by its hooks."""

    cache: ClassVar[dict[Any, Tensor]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4))
        self.rows: list[Any] = []
        self.recorder = recorder = Recorder()
        self.outside: list[Any] = []
        outside = self.outside
        del self.outside, self.recorder
        self.layers.register_forward_hook(lambda *call: recorder(*call))
        self.layers.register_forward_hook(lambda *call: outside.append(call))
        self.seen: Callable[[], Any] = lambda: (recorder.last, len(outside))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        self.cache[x.shape] = SEEN["y"] = y
        self.rows.append(y)
        return y + grid(x.shape[-1])


class Hidden(nn.Module):
    """It reaches its first layer through the registry of all classes' subclasses: unseen."""

    registry: ClassVar[list[Any]] = []

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4))

    def forward(self, x: Tensor) -> Any:
        return self.registry[0].layers(x)


VERBS: tuple[Callable[[nn.Module], Any], ...] = (
    lambda model: bnc.fold(model, (X,)),
    lambda model: bnc.recompute_statistics(model, [X, X]).undo(),
    lambda model: bnc.diagnose(model, [X, X]),
)


@pytest.mark.parametrize("verb", [*VERBS, lambda model: bnc.plan(model, bnc.Frozen())])
def test_containers_and_caches_that_a_forward_fills_are_as_before(
    verb: Callable[[nn.Module], Any],
) -> None:
    model = Caching().train()
    grid.cache_clear()
    verb(model)
    assert (Caching.cache, SEEN, grid.cache_info().currsize) == ({}, {}, 0)
    assert (model.rows, model.seen()) == ([], (None, 0))


@pytest.mark.parametrize("verb", VERBS)
def test_a_copy_that_runs_the_model_itself_is_refused_and_nothing_moves(
    verb: Callable[[nn.Module], Any],
) -> None:
    model = Hidden().train()
    Hidden.registry[:] = [model]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(bnc.UnsupportedModelError, match=r"^layers: a copy of the model calls"):
        verb(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(m.training and not m._forward_pre_hooks for m in model.modules())


def call_in_silence(model: nn.Module) -> None:
    with refusing_calls(model), contextlib.suppress(bnc.UnsupportedModelError):
        model(X)


def test_a_refused_call_is_told_even_if_somebody_catches_it() -> None:
    with pytest.raises(bnc.UnsupportedModelError, match=r"^\(root\): a copy of the model calls"):
        call_in_silence(nn.Sequential(nn.Identity()))


def test_buffers_modes_and_attributes_are_restored_on_errors_too() -> None:
    model: Any = nn.Sequential(nn.BatchNorm1d(4)).train()
    mean = model[0].running_mean
    with contextlib.suppress(KeyError), preserved(model):
        mean.add_(1)
        model[0].running_mean = torch.ones(4)
        model.eval().note = 1
        raise KeyError
    assert model[0].running_mean is mean
    assert not mean.any()
    assert model[0].training
    assert not hasattr(model, "note")


def test_chosen_buffers_may_change() -> None:
    model = nn.BatchNorm1d(4)
    with restored(model, buffers=()):
        model.get_buffer("running_mean").add_(1)
    assert model.get_buffer("running_mean").all()

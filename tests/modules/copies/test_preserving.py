"""What copies of a model must not change while they run; some is reached in ways nobody can see."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.modules.copies.preserving import preserved, refusing_calls, restored

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


def test_statistics_that_batch_norm_updates_come_back() -> None:
    """Torch's kernel writes them without raising the version of the tensor."""
    norm = nn.BatchNorm2d(3)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    with torch.no_grad(), restored(norm):
        norm(torch.randn(4, 3, 5, 5) + 2)
        assert norm.get_buffer("running_mean").any()
    assert all(torch.equal(before[name], buffer) for name, buffer in norm.named_buffers())


def test_chosen_buffers_may_change() -> None:
    model = nn.BatchNorm1d(4)
    with restored(model, changing=model.buffers()):
        model.get_buffer("running_mean").add_(1)
    assert model.get_buffer("running_mean").all()


class Observer(nn.Module):
    """Changes all that it keeps, as observers, counters and codebooks do in eval mode too."""

    count: Tensor
    low: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("low", torch.tensor([]))
        self.register_buffer("cache", torch.zeros(2), persistent=False)
        self.kept, self.array = [torch.zeros(2)], np.zeros(2)

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.low.resize_(x.shape[1]).copy_(x.amin(0))
        self.get_buffer("cache")[0] = float("nan")
        self.kept[0][1] += 1
        self.array[0] += 1
        return x

    def state(self) -> list[Any]:
        kept = (self.count, self.low, self.get_buffer("cache"), self.kept[0], self.array)
        return [array.tolist() for array in kept]


@pytest.mark.parametrize("method", ["layerwise", "aggregate", "ema"])
def test_only_the_measured_statistics_change_and_undo_brings_them_back(method: Any) -> None:
    observer, norm = Observer(), nn.BatchNorm1d(3)
    model = nn.Sequential(observer, norm)
    buffers = dict(model.named_buffers())
    before = observer.state()
    result = bnc.recompute_statistics(model, torch.randn(12, 3).split(4), method=method)
    assert observer.state() == before
    assert all(buffer is buffers[name] for name, buffer in model.named_buffers())
    result.undo()
    assert observer.state() == before
    assert torch.equal(norm.get_buffer("running_mean"), torch.zeros(3))


def test_they_come_back_after_an_error_too() -> None:
    observer = Observer()
    model = nn.Sequential(observer, nn.BatchNorm1d(3))
    before = observer.state()

    def interrupted() -> None:
        with restored(model):
            model(torch.randn(4, 3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert observer.state() == before


def test_a_diagnosis_scores_every_kind_of_statistics_from_the_same_state() -> None:
    class Fading(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = super().forward(x)
            return y / observer_of(self).count

    def observer_of(model: nn.Module) -> Observer:
        found = model.get_submodule("0")
        assert isinstance(found, Observer)
        return found

    model = Fading(Observer(), nn.BatchNorm1d(3))
    x = torch.randn(8, 3)
    report = bnc.diagnose(model, [x], loss=lambda output, batch: output.square().mean())
    assert report.scores["loss"]["batch"] == pytest.approx(report.scores["loss"]["precise"])
    assert observer_of(model).count == 0


def test_looking_leaves_tensors_among_the_attributes_as_they_were() -> None:
    """A shape that changed comes back too."""
    observer = Observer()
    model, before = nn.Sequential(observer, nn.BatchNorm1d(3)).eval(), observer.state()
    fixed = np.broadcast_to(np.zeros(1), 3)  # it cannot be written
    vars(observer)["fixed"] = fixed
    with restored(model):
        model(torch.randn(4, 3))
        assert observer.state() != before
    assert observer.state() == before

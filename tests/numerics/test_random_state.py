import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import torch

from bnconvert.numerics import random_state
from bnconvert.numerics.random_state import HostRandomState, preserved_random_state


def test_numbers_drawn_inside_are_drawn_again_afterwards() -> None:
    before = torch.get_rng_state()
    with preserved_random_state():
        inside = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.rand(3), inside)


def test_python_and_numpy_draw_again_too() -> None:
    """Augmentations draw from them, while a data set is read."""
    state = HostRandomState()
    with preserved_random_state():
        inside = random.random(), np.random.random()
        assert state.has_changed()
    assert not state.has_changed()
    assert (random.random(), np.random.random()) == inside


def test_a_seed_set_inside_is_forgotten() -> None:
    before = torch.get_rng_state()
    with preserved_random_state():
        torch.manual_seed(7)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_state_comes_back_after_an_exception_too() -> None:
    before = torch.get_rng_state()
    with suppress(ValueError), preserved_random_state():
        torch.rand(1)
        raise ValueError
    assert torch.equal(torch.get_rng_state(), before)


def test_guards_nest() -> None:
    before = torch.get_rng_state()
    with preserved_random_state():
        torch.rand(1)
        between = torch.get_rng_state()
        with preserved_random_state():
            torch.rand(1)
        assert torch.equal(torch.get_rng_state(), between)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("in_use", "devices"), [(False, []), (True, [0, 1])])
def test_cuda_devices_are_guarded_only_once_someone_uses_cuda(
    monkeypatch: pytest.MonkeyPatch, in_use: bool, devices: list[int]
) -> None:
    guarded: list[list[int]] = []

    @contextmanager
    def fork_rng(devices: list[int]) -> Iterator[None]:
        guarded.append(devices)
        yield

    monkeypatch.setattr(random_state, "_uses_cuda", lambda: in_use)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.random, "fork_rng", fork_rng)
    with preserved_random_state():
        pass
    assert guarded == [devices]

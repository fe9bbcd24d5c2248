import gc

import pytest
import torch

from bnconvert.statistics.activation_paging import LimitedMemory, Memory
from bnconvert.statistics.batches import Batch

MB = 250_000  # floats


def bytes_of(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def test_without_a_limit_nothing_is_copied_and_nothing_said() -> None:
    batch = Batch(0, torch.zeros(3), 0)
    with Memory() as memory:
        assert memory.adopt(batch) is batch
        with memory.running(0):
            pass
    assert memory.summary() is None


def test_what_paused_forwards_hold_is_moved_away_and_back() -> None:
    memory = LimitedMemory(3_500_000)
    held = {}
    with memory:
        for owner in range(4):
            with memory.running(owner):
                held[owner] = torch.full((MB,), float(owner)) + 0.5
        assert sum(map(bytes_of, held.values())) <= 3_000_000
        for owner in range(4):
            with memory.running(owner):
                assert bytes_of(held[owner]) == 4 * MB
                assert float(held[owner][0]) == owner + 0.5
    assert all(bytes_of(tensor) == 4 * MB for tensor in held.values())
    assert [float(tensor[-1]) for tensor in held.values()] == [0.5, 1.5, 2.5, 3.5]
    assert memory.peak <= 3_500_000
    assert "of 4 MB allowed" in memory.summary()


def test_a_tensor_of_another_forward_is_there_when_it_is_used_and_may_be_changed() -> None:
    memory = LimitedMemory(0)
    with memory:
        with memory.running(0):
            shared = torch.ones(MB) * 2
            view = shared[10:]
        assert bytes_of(shared) == 0
        with memory.running(1):
            view.add_(1)
        assert bytes_of(shared) == 0
    assert float(shared.sum()) == 2 * 10 + 3 * (MB - 10)


def test_parameters_and_the_users_tensors_are_never_moved() -> None:
    weight, mine = torch.nn.Parameter(torch.ones(MB)), torch.ones(MB)
    memory = LimitedMemory(0)
    with memory:
        batch = memory.adopt(Batch(0, mine, 0))
        with memory.running(0), torch.no_grad():
            views = weight.view(1, -1), mine.view(1, -1), weight.detach().t()
        assert bytes_of(weight) == bytes_of(mine) == bytes_of(views[0]) == 4 * MB
        assert bytes_of(batch.value) == 0
    assert torch.equal(batch.value, mine)


def test_what_numpy_looks_at_stays() -> None:
    memory = LimitedMemory(0)
    with memory:
        with memory.running(0):
            held = torch.ones(MB) * 2
            array = held.numpy()
        assert bytes_of(held) == 4 * MB
    assert array.sum() == 2 * MB


def test_what_is_let_go_is_forgotten() -> None:
    memory = LimitedMemory(10_000_000)
    with memory:
        for owner in range(50):
            with memory.running(owner):
                made = torch.ones(MB) * 2
                del made
            gc.collect(0)
    assert memory.peak <= 2_000_000


def test_an_error_brings_everything_back_too() -> None:
    memory = LimitedMemory(0)
    held: list[torch.Tensor] = []

    def fail() -> None:
        with memory:
            with memory.running(0):
                held.append(torch.ones(MB) * 2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert float(held[0].sum()) == 2 * MB

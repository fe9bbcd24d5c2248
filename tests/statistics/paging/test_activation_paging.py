import gc
from typing import ClassVar

import pytest
import torch

from bnconvert.statistics.batches import Batch
from bnconvert.statistics.paging.activation_paging import LimitedMemory, Memory
from bnconvert.statistics.paging.swap_file import SwapFile
from bnconvert.statistics.paging.swap_memory import SwapMemory
from bnconvert.statistics.paging.swap_space import SwapSpace

MB = 250_000  # floats
CPU, META = torch.device("cpu"), torch.device("meta")


def limited(limit: int) -> LimitedMemory:
    return LimitedMemory(limit, {CPU: SwapFile})


class NoBytes:
    """Stands for the main memory beside an accelerator: meta tensors have no bytes to keep."""

    name: ClassVar[str] = "main memory"

    def __init__(self) -> None:
        self.written = self.read = self.released = 0
        self.closed = False

    def put(self, storage: torch.UntypedStorage) -> int:
        assert storage.device == META
        self.written += storage.nbytes()
        return 7

    def get(self, storage: torch.UntypedStorage, number: int) -> None:
        assert number == 7
        self.read += storage.nbytes()

    def release(self, size: int, number: int) -> None:
        self.released += size

    def close(self) -> None:
        self.closed = True


def bytes_of(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def test_without_a_limit_nothing_is_copied_and_nothing_said() -> None:
    batch = Batch(0, torch.zeros(3), 0)
    with Memory() as memory:
        assert memory.adopt(batch) is batch
        with memory.running(0):
            pass
    assert memory.summary() is None


@pytest.mark.parametrize("space", [SwapFile, SwapMemory])
def test_what_paused_forwards_hold_is_moved_away_and_back(space: type[SwapSpace]) -> None:
    memory = LimitedMemory(3_500_000, {CPU: space})
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
    assert memory.devices[CPU].peak <= 3_500_000
    assert "on cpu: at most" in memory.summary()
    assert f"of 4 MB allowed; 3 MB were moved to {space.name} and back" in memory.summary()


def test_a_tensor_of_another_forward_is_there_when_it_is_used_and_may_be_changed() -> None:
    memory = limited(0)
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
    memory = limited(0)
    with memory:
        batch = memory.adopt(Batch(0, mine, 0))
        with memory.running(0), torch.no_grad():
            views = weight.view(1, -1), mine.view(1, -1), weight.detach().t()
        assert bytes_of(weight) == bytes_of(mine) == bytes_of(views[0]) == 4 * MB
        assert bytes_of(batch.value) == 0
    assert torch.equal(batch.value, mine)


def test_what_numpy_looks_at_stays() -> None:
    memory = limited(0)
    with memory:
        with memory.running(0):
            held = torch.ones(MB) * 2
            array = held.numpy()
        assert bytes_of(held) == 4 * MB
    assert array.sum() == 2 * MB


def test_what_is_let_go_is_forgotten() -> None:
    memory = limited(10_000_000)
    with memory:
        for owner in range(50):
            with memory.running(owner):
                made = torch.ones(MB) * 2
                del made
            gc.collect(0)
    assert memory.devices[CPU].peak <= 2_000_000


def test_an_error_brings_everything_back_too() -> None:
    memory = limited(0)
    held: list[torch.Tensor] = []

    def fail() -> None:
        with memory:
            with memory.running(0):
                held.append(torch.ones(MB) * 2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert float(held[0].sum()) == 2 * MB


def test_each_device_has_its_own_limit_and_place() -> None:
    beside = NoBytes()
    memory = LimitedMemory(7_000_000, {META: lambda: beside})
    with memory:
        made, here = [], []
        for owner in range(4):
            with memory.running(owner):
                made.append(torch.empty(2 * MB, device="meta"))
                here.append(torch.ones(2 * MB))
        assert [bytes_of(tensor) for tensor in made] == [8 * MB, 0, 0, 8 * MB]
        assert all(bytes_of(tensor) == 8 * MB for tensor in here)  # nothing was said of the CPU
        with memory.running(2):
            assert bytes_of(made[2]) == 8 * MB
            made[2].add_(1)
        assert beside.read == beside.released == 8 * MB
    assert beside.closed
    assert memory.devices[META].peak <= 7_000_000
    assert memory.summary().startswith("live activations on meta: at most 6 MB of 7 MB allowed")
    assert memory.summary().endswith("; 6 MB were moved to main memory and back")


def test_both_devices_of_a_model_are_limited() -> None:
    beside = NoBytes()
    with LimitedMemory(0, {META: lambda: beside, CPU: SwapFile}) as memory:
        with memory.running(0):
            far, near = torch.empty(MB, device="meta"), torch.ones(MB) * 2
        assert bytes_of(far) == bytes_of(near) == 0
    assert bytes_of(far) == bytes_of(near) == 4 * MB
    assert float(near.sum()) == 2 * MB


def test_only_what_may_be_moved_is_copied() -> None:
    here, there = torch.ones(MB), torch.empty(MB, device="meta")
    with LimitedMemory(0, {META: NoBytes}) as memory:
        batch = memory.adopt(Batch(0, (here, there), 0))
    assert batch.value[0] is here
    assert batch.value[1] is not there

from typing import Any

import pytest
import torch

import bnconvert as bnc
from bnconvert.statistics.paging.swap_memory import SwapMemory


def storage(*values: float) -> torch.UntypedStorage:
    return torch.tensor(values, dtype=torch.float32).untyped_storage()


def test_what_is_put_comes_back_bit_for_bit() -> None:
    memory = SwapMemory()
    first, second = memory.put(storage(1, 2)), memory.put(storage(3, float("nan")))
    read = torch.zeros(2)
    memory.get(read.untyped_storage(), second)
    assert torch.equal(read.view(torch.int32), torch.tensor([3.0, float("nan")]).view(torch.int32))
    memory.get(read.untyped_storage(), first)
    assert read.tolist() == [1, 2]
    assert memory.written == 16


def test_what_is_released_is_let_go() -> None:
    memory = SwapMemory()
    number = memory.put(storage(1, 2))
    memory.release(8, number)
    with pytest.raises(KeyError):
        memory.get(storage(0, 0), number)
    memory.put(storage(1))
    memory.close()


def test_it_is_ordinary_memory_where_there_is_no_accelerator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def empty(size: int, **options: Any) -> torch.Tensor:
        asked.append(options.pop("pin_memory"))
        made: torch.Tensor = torch.zeros(size, **options)
        return made

    monkeypatch.setattr(torch, "empty", empty)
    for available in (False, True):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda a=available: a)
        SwapMemory().put(storage(1))
    assert asked == [False, True]


def test_full_memory_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*sizes: int, **options: object) -> torch.Tensor:
        raise RuntimeError("out of memory")

    memory, moved = SwapMemory(), torch.ones(1_000_000).untyped_storage()
    memory.put(moved)
    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(bnc.StatisticsError, match=r"no room for 4 MB.* holds 4 MB of them; raise"):
        memory.put(moved)

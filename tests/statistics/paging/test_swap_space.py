import torch

from bnconvert.statistics.paging.swap_file import SwapFile
from bnconvert.statistics.paging.swap_memory import SwapMemory
from bnconvert.statistics.paging.swap_space import can_be_emptied, swap_space_for


def test_main_memory_is_moved_to_a_file_and_an_accelerators_to_main_memory() -> None:
    assert swap_space_for(torch.device("cpu")) is SwapFile
    assert swap_space_for(torch.device("cuda:1")) is SwapMemory
    assert swap_space_for(torch.device("xpu")) is SwapMemory


def test_torch_says_where_storages_can_be_emptied() -> None:
    assert can_be_emptied(torch.device("cpu"))
    assert can_be_emptied(torch.device("meta"))
    assert not can_be_emptied(torch.device("mps"))

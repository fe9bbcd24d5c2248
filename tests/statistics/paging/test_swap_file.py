import pytest
import torch

from bnconvert.statistics.paging.swap_file import SwapFile


def storage(*values: float) -> torch.UntypedStorage:
    return torch.tensor(values, dtype=torch.float32).untyped_storage()


def test_what_is_put_comes_back_and_free_places_are_used_again() -> None:
    file = SwapFile()
    first, second = file.put(storage(1, 2)), file.put(storage(3, 4))
    read = torch.zeros(2)
    file.get(read.untyped_storage(), second)
    assert read.tolist() == [3, 4]
    file.release(8, first)
    assert file.put(storage(5, 6)) == first
    assert file.put(storage(7, 8, 9)) == 16
    assert file.written == 36
    file.close()


def test_a_file_that_ends_early_is_an_error() -> None:
    file = SwapFile()
    with pytest.raises(OSError, match="ended early"):
        file.get(storage(1, 2), 0)
    file.close()

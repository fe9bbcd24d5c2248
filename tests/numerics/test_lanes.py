import numpy as np
import pytest
from numpy.typing import NDArray

from bnconvert.numerics.lanes import mixed_down

ROW = 8 * 4096


def draw(size: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def mixed(data: NDArray[np.uint8]) -> bytes:
    state, rest = mixed_down(data)
    return state.tobytes() + rest.tobytes()


def naive(data: NDArray[np.uint8]) -> bytes:
    count = data.size // ROW
    states = [0] * 4096
    for row in range(count):
        for lane in range(4096):
            at = row * ROW + lane * 8
            mix = states[lane] * 0x9E3779B97F4A7C15 % 2**64
            word = int.from_bytes(data[at : at + 8].tobytes(), "little")
            states[lane] = mix ^ (mix >> 32) ^ word
    return b"".join(s.to_bytes(8, "little") for s in states) + data[count * ROW :].tobytes()


@pytest.mark.parametrize("size", [0, 1, 4 * ROW - 1])
def test_few_bytes_stand_for_themselves(size: int) -> None:
    data = draw(size)
    assert mixed(data) == data.tobytes()


@pytest.mark.parametrize("size", [4 * ROW, 4 * ROW + 5, 6 * ROW + 777])
def test_many_bytes_are_mixed_row_by_row(size: int) -> None:
    data = draw(size)
    assert mixed(data) == naive(data)
    assert len(mixed(data)) == ROW + size % ROW


def test_every_changed_byte_tells() -> None:
    data = draw(5 * ROW + 9)
    found = {mixed(data)}
    for place in np.random.default_rng(1).integers(0, data.size, 40):
        changed = data.copy()
        changed[place] ^= 1 << int(place) % 8
        found.add(mixed(changed))
    assert len(found) == 41


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_what_numbers_have_in_common_does_not_cancel(dtype: type) -> None:
    """All signs, two signs of one lane, rows in another order, all doubled, all zeros."""
    numbers = np.random.default_rng(2).normal(size=8 * ROW // np.dtype(dtype).itemsize)
    numbers = numbers.astype(dtype)
    lane = numbers.reshape(8, -1)
    two = np.concatenate([-lane[:2], lane[2:]]).reshape(-1)
    others = [-numbers, two, lane[::-1].reshape(-1), numbers * 2, numbers * 0, -(numbers * 0)]
    found = {mixed(np.ascontiguousarray(x).view(np.uint8)) for x in (numbers, *others)}
    assert len(found) == 7


def test_bytes_that_begin_anywhere_are_mixed_as_any_others() -> None:
    data = draw(4 * ROW + 3)
    assert mixed(data[3:]) == mixed(data[3:].copy())

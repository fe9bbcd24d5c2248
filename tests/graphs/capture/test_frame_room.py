"""Calls below a frame with room ask the system for no memory, at whatever depth it stands."""

from collections.abc import Callable
from functools import partial

import pytest

from bnconvert.graphs.capture.frame_room import with_room

resource = pytest.importorskip("resource", reason="Windows counts page faults otherwise")
CALLS = 1000


def leaf(a: int, b: int, c: int, d: int) -> int:
    return a + b + c + d


def work() -> None:
    for _ in range(CALLS):
        leaf(1, 2, 3, 4)


def below(frames: int, function: Callable[[], None]) -> None:
    """Call a function from so many frames below."""
    if frames:
        below(frames - 1, function)
    else:
        function()


def page_faults(function: Callable[[], None]) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    function()
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


def test_no_call_crosses_an_edge_between_chunks_of_frames() -> None:
    roomy = with_room(lambda: below(5, work))
    most = max(page_faults(partial(below, depth, roomy)) for depth in range(150))
    assert most < CALLS / 2, "less than one for each call, at some depth"


def test_what_is_given_returned_and_raised_passes_through() -> None:
    @with_room
    def divided(number: int, *, by: int) -> float:
        """Divide."""
        return number / by

    assert divided(3, by=2) == 1.5
    assert divided.__doc__ == "Divide."
    with pytest.raises(ZeroDivisionError):
        divided(3, by=0)

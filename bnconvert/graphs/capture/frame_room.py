"""Room for the frames of many small calls, at whatever depth their caller stands.

CPython lays frames into chunks of 16 KiB. It asks the system for the next chunk when a call does
not fit, and gives it back when that call returns: where calls of a hot loop cross such an edge,
each of them costs as much as two system calls and a page fault. A capture far down in a program
takes up to a tenth longer by that. What is called from a frame of half a mebibyte crosses no edge.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

_SLOTS = 66_000  # values: more than half of a chunk of 1 MiB, the rest of which is left to calls

P = ParamSpec("P")
R = TypeVar("R")


def with_room(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function run where the frames of its calls lie in one piece of memory."""

    def roomy(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    roomy.__code__ = roomy.__code__.replace(co_stacksize=_SLOTS)
    return wraps(function)(roomy)

from functools import partial

import pytest
import torch

from bnconvert.statistics.lockstep import PausableForward


def test_forwards_advance_turn_by_turn() -> None:
    said: list[str] = []

    def walk(name: str) -> None:
        for step in range(3):
            said.append(f"{name}{step}")
            forwards[name].pause()

    forwards = {name: PausableForward(partial(walk, name)) for name in "ab"}
    while not all(forward.is_over for forward in forwards.values()):
        for forward in forwards.values():
            if not forward.is_over:
                forward.resume()
    assert said == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_what_a_forward_raises_reaches_whoever_resumes_it() -> None:
    def fail() -> None:
        forward.pause()
        raise ValueError("no")

    forward = PausableForward(fail)
    forward.resume()
    with pytest.raises(ValueError, match="no"):
        forward.resume()
    assert forward.is_over


def test_a_cancelled_forward_runs_its_finally_blocks() -> None:
    ended: list[bool] = []

    def wait() -> None:
        try:
            with torch.enable_grad():
                forward.pause()
        finally:
            ended.append(torch.is_grad_enabled())

    with torch.no_grad():
        forward = PausableForward(wait)
        forward.resume()
        assert not torch.is_grad_enabled()
        forward.cancel()
        assert not torch.is_grad_enabled()
    assert ended == [False]
    assert forward.is_over
    forward.cancel()  # nothing more to do
    PausableForward(wait).cancel()  # it never started


def test_modes_entered_inside_do_not_leak_to_the_driver_and_are_there_again() -> None:
    seen: list[tuple[bool, bool]] = []

    def inside() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            forward.pause()
            seen.append((torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")))

    forward = PausableForward(inside)
    forward.resume()
    assert not torch.is_inference_mode_enabled()
    assert not torch.is_autocast_enabled("cpu")
    forward.resume()
    assert seen == [(True, True)]
    assert not torch.is_inference_mode_enabled()

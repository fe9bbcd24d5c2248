import io
import sys

import pytest

from bnconvert.reporting.progress import Steps, showing_progress
from bnconvert.torch_private.silence import quiet


def test_a_given_function_is_used_itself() -> None:
    def tell(done: int, total: int | None, what: str) -> None:
        """Take it."""

    with showing_progress(tell) as say:
        assert say is tell


def test_on_a_pipe_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(None) as say:
        say(1, 2, "layer1")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with showing_progress(None) as say:
        say(1, 2, "layer1")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "layer1" in printed.err


def test_the_bar_stays_on_its_terminal_while_stderr_is_redirected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with showing_progress(first="loading the model") as say, quiet():
        say(0, None, "looking at it")
    assert "loading the model" in terminal.getvalue()
    assert "looking at it" in terminal.getvalue()


def test_steps_are_told_with_their_numbers_as_they_begin() -> None:
    told: list[tuple[int, int | None, str]] = []
    steps = Steps(lambda *step: told.append(step), "fold", "write", "verify")
    steps.begin("fold")
    steps.begin("verify")
    steps.tell("a copy")
    assert told == [(0, 3, "fold"), (2, 3, "verify"), (2, 3, "a copy")]
    Steps(None, "fold").begin("fold")

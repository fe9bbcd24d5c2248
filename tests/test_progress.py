import sys

import pytest

from bnconvert.progress import shown


def test_a_given_function_is_used_itself() -> None:
    def tell(done: int, total: int | None, what: str) -> None:
        """Take it."""

    with shown(tell) as say:
        assert say is tell


def test_on_a_pipe_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(None) as say:
        say(1, 2, "layer1")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with shown(None) as say:
        say(1, 2, "layer1")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "layer1" in printed.err

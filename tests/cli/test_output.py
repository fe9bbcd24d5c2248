import io
import sys
from pathlib import Path

import pytest

from bnconvert.cli.output import progress, save, show
from bnconvert.reporting.report import Report


def test_progress_is_silent_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress("loading") as say:
        say("looking")
    assert capsys.readouterr() == ("", "")


def test_progress_is_shown_on_stderr_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("loading the model") as say:
        say("looking at it")
    assert "looking at it" in terminal.getvalue()


def test_a_report_is_printed_and_saved_by_its_suffix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(Report("title"), tmp_path / "r.html")
    assert capsys.readouterr().out == "title\n"
    assert "<h1>title</h1>" in (tmp_path / "r.html").read_text()
    save(Report("title"), tmp_path / "r.json")
    assert '"title": "title"' in (tmp_path / "r.json").read_text()
    save(Report("title"), None)

import errno

import pytest

from bnconvert import __main__, errors


def ending(
    failure: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[object, str]:
    """Return the exit code and the message of a command that fails so."""

    def app(args: list[str] | None) -> None:
        raise failure

    monkeypatch.setattr(__main__, "app", app)
    with pytest.raises(SystemExit) as stop:
        __main__.main([])
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (errors.UsageError("a: b; c"), 2, "a: b; c"),
        (errors.PolicyError("a: b; c"), 2, "a: b; c"),
        (errors.VerificationError(["far"], None), 3, "the numbers disagree"),
        (errors.LoadError("a: b; c"), 4, "a: b; c"),
        (errors.ExportError("a: b; c"), 4, "a: b; c"),
        (OSError(errno.ENOSPC, "No space left on device", "m.pt"), 4, "free some space, or choose"),
        (PermissionError(errno.EACCES, "Permission denied", "m.pt"), 4, "ask for the permission"),
        (OSError(errno.EROFS, "Read-only file system", "m.pt"), 4, "m.pt: Read-only file system"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "m"), 4, "m: Is a directory; give"),
        (ZeroDivisionError("division\nby zero"), 4, "ZeroDivisionError: division; this is a fault"),
        (AssertionError(), 4, "AssertionError; this is a fault of bnconvert: please report it"),
        (MemoryError(), 4, "MemoryError; this is a fault"),
        (RecursionError("too deep"), 4, "RecursionError: too deep; this is a fault"),
    ],
)
def test_every_failure_is_one_sentence_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: Exception,
    code: int,
    said: str,
) -> None:
    ended, text = ending(failure, monkeypatch, capsys)
    assert ended == code
    assert text.startswith("error: ")
    assert said in text
    assert "Traceback" not in text


def test_where_a_fault_of_ours_is_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def app(args: list[str] | None) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(__main__, "app", app)
    monkeypatch.setenv("BNCONVERT_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        __main__.main([])

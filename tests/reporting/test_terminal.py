import io

import pytest

from bnconvert.reporting.records import Check, Contents, Finding, NormRow, StatisticsRow
from bnconvert.reporting.terminal import print_report

FOUND = Finding("BN201", "error", ("a", "b"), "the statistics are off", "recompute", "f(model)")
WORDS = Finding("BN005", "warning", ("a",), "a large momentum", "make it smaller")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(report: Contents, *, verbose: bool = False, quiet: bool = False) -> list[str]:
    file = io.StringIO()
    print_report(report, verbose=verbose, quiet=quiet, file=file)
    return file.getvalue().splitlines()


def test_the_verdict_stands_first_then_the_findings_by_severity() -> None:
    report = Contents("Net", findings=(WORDS, FOUND), notes=("so",))
    assert printed(report) == [
        "FAIL  Net, 1 error, 1 warning; begin with BN201",
        "",
        "error BN201  a, b",
        "  the statistics are off",
        "  fix: recompute",
        "  run: f(model)",
        "",
        "warning BN005  a",
        "  a large momentum",
        "  fix: make it smaller",
        "",
        "note: so",
        "",
        "what they mean: bnconvert explain BN201 BN005",
    ]
    assert printed(report, quiet=True) == ["FAIL  Net, 1 error, 1 warning; begin with BN201"]


def test_rows_are_printed_where_something_is_wrong() -> None:
    norms = tuple(
        NormRow(f"bn{i}", "BatchNorm2d", 8, 1, "standing" if i > 7 else "folded", "why")
        for i in range(11)
    )
    held = Check("a", "y", "norm", 1e-7, 1e-6, True)
    report = Contents("Net", norms=norms, checks=(held,), facts={"size": "3 MB"})
    short = printed(report)
    assert short[0] == "OK  Net (11 norms: 8 folded, 3 standing; 1 of 1 checks hold)"
    assert [line.split()[0] for line in short[2:6]] == ["norm", "bn8", "bn9", "bn10"]
    assert short[6:] == ["(1) why"]
    long = printed(report, verbose=True)
    assert sum(line.startswith("bn") for line in long) == 11
    assert {"(1) why", "size  3 MB"} <= {*long}
    assert any(line.startswith("a, y") for line in long)


def test_all_is_fine_in_one_line() -> None:
    norms = (NormRow("bn", "BatchNorm2d", 8, 1, "folded", "into conv"),)
    held = (Check("a", "y", "norm", 1e-7, 1e-6, True),)
    report = Contents("m agrees with Net", "agrees", norms=norms, checks=held, facts={"n": 1})
    assert len(printed(report)) == 1


def test_the_statistics_that_are_most_off_are_printed_once_each() -> None:
    rows = [
        StatisticsRow(f"bn{i}", "BatchNorm2d", 8, 64, i / 10, 0.0, 0.01, 32, against)
        for against in ("precise", "batch")
        for i in range(7)
    ]
    report = Contents("Net", statistics=tuple(rows), findings=(WORDS,))
    lines = printed(report)[5:]
    assert [line.split()[0] for line in lines[2:7]] == ["bn6", "bn5", "bn4", "bn3", "bn2"]
    assert lines[7] == "the 5 that are most off of 7; -v lists all"
    assert lines[8] == "mean off, sigma off: from precise statistics, in their sigma"
    shown = printed(report, verbose=True)[5:]
    assert [line.split()[0] for line in shown[2:9]] == [f"bn{i}" for i in range(7)]
    assert not any("-v lists" in line for line in shown)
    assert len(printed(Contents("Net", statistics=tuple(rows)))) == 1, "nothing is wrong"


def test_colours_are_for_terminals_and_not_where_they_are_unwanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    report = Contents("Net", findings=(FOUND,))
    file = Terminal()
    print_report(report, file=file)
    assert "\x1b[1;31mFAIL" in file.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    print_report(report, file=plain)
    assert "\x1b[1;31m" not in plain.getvalue()
    assert "\x1b" not in "".join(printed(report))


def test_a_narrow_terminal_leaves_columns_out(monkeypatch: pytest.MonkeyPatch) -> None:
    row = StatisticsRow("layer4.0.downsample.1", "Norm", 2048, 50000, 0.5, 0.5, 0.01, 32, "precise")
    norm = NormRow("layer4.0.downsample.1", "BatchNorm2d", 2048, 1, "standing", "its reason")
    report = Contents("Net", norms=(norm,), statistics=(row,), findings=(WORDS,))
    assert any("class" in line for line in printed(report))
    monkeypatch.setenv("COLUMNS", "60")
    lines = printed(report)
    assert [line.split()[0] for line in lines[6:8]] == ["norm", "layer4.0.downsample.1"]
    assert lines[6].split() == ["norm", "channels", "calls", "state", "remark"]
    (head,) = [line for line in lines if "sigma off" in line and line.startswith("norm")]
    assert head.split() == ["norm", "channels", "mean", "off", "sigma", "off", "error"]


def test_a_narrow_terminal_wraps_words_and_leaves_code_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    code = "bnc.convert(model, " + "bnc.Frozen() | " * 6 + "bnc.Keep())"
    found = Finding("BN201", "error", ("a",), "word " * 40, "fix " * 40, code)
    file = Terminal()
    print_report(Contents("Net", findings=(found,)), file=file)
    lines = [line.rstrip() for line in file.getvalue().replace("\x1b[0m", "").splitlines()]
    assert f"  run: {code}" in [line.replace("\x1b[1m", "") for line in lines]
    assert max(len(line) for line in lines if code not in line) <= 68, "with the codes of bold"

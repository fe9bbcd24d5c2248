import io
import re
from dataclasses import replace

import pytest

from bnconvert.reporting.records import (
    Check,
    Contents,
    Finding,
    NormRow,
    ScoreInterval,
    StatisticsRow,
)
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


def test_a_line_of_code_stands_once() -> None:
    again = replace(FOUND, id="BN210", severity="info", fix="")
    lines = printed(Contents("Net", findings=(again, FOUND)))
    assert [line for line in lines if "run:" in line] == [
        "  run: f(model)",
        "  run: the line of BN201",
    ]


def test_rows_are_printed_where_something_is_wrong() -> None:
    norms = tuple(
        NormRow(f"bn{i}", "BatchNorm2d", 8, 1, "standing" if i > 7 else "folded", "why")
        for i in range(11)
    )
    held = Check("a", "y", "norm", 1e-7, 1e-6, True)
    report = Contents("Net", norms=norms, checks=(held,), facts={"size": "3 MB"})
    short = printed(report)
    assert short[0] == "OK  Net (11 norms: 8 folded, 3 standing; 1 of 1 checks hold)"
    common = "in all rows: class BatchNorm2d, channels 8, calls 1, state standing, remark why"
    assert short[2:] == ["norm", "bn8", "bn9", "bn10", common]
    long = printed(report, verbose=True)
    assert sum(line.startswith("bn") for line in long) == 11
    assert {"size  3 MB", common.replace("state standing, ", "")} <= {*long}
    assert any(line.startswith("a, y") for line in long)


def test_many_norms_of_which_the_same_is_said_are_one_row() -> None:
    norms = tuple(
        NormRow(f"b.{i}.bn{j}", "BatchNorm2d", 8, 1, "Group(groups=4)", ("", "CHANGES")[j])
        for i in range(8)
        for j in range(2)
    )
    lines = printed(Contents("Net", norms=norms))[2:]
    assert len(lines) == 3
    settings = ["BatchNorm2d", "8", "1", "Group(groups=4)"]
    assert lines[1].split() == ["b.{0-7}.bn0", "(8)", *settings]
    assert lines[2].split() == ["b.{0-7}.bn1", "(8)", *settings, "CHANGES"]
    verbose = printed(Contents("Net", norms=norms), verbose=True)
    assert sum(line.startswith("b.") for line in verbose) == 16


def test_of_many_checks_that_fail_the_worst_are_printed() -> None:
    checks = [Check(f"case {i}", "y", "norm", i * 1e-6, 1e-6, i < 2) for i in range(9)]
    lines = printed(Contents("m DIFFERS from Net", "differs", checks=tuple(checks)))
    assert [line.split(",")[0] for line in lines[3:8]] == [f"case {i}" for i in (8, 7, 6, 5, 4)]
    assert lines[8:] == ["the 5 that fail most of 7; -v lists all"]


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


def test_scores_stand_with_how_certain_they_are() -> None:
    scores = {"loss": {"running": 2.0, "precise": 1.0}}
    interval = ScoreInterval("loss", "running", 2.0, 1.9, 2.1, "sample", 64)
    lines = printed(Contents("Net", scores=scores, intervals=(interval,)))
    assert lines[3].split() == ["loss", "2", "1"]
    assert "intervals by bootstrap over 64 samples: running (1.9 to 2.1)" in lines[4]


def test_what_is_known_of_a_norm_stands_in_its_row() -> None:
    row = NormRow(
        *("bn", "BatchNorm2d", 8, 1, "training"), fed_by=("conv",), values=512,
        finding_ids=("BN005", "BN010"),
    )  # fmt: skip
    lines = printed(Contents("Net", norms=(row,)), verbose=True)
    assert lines[2].split()[-4:] == ["values", "fed", "by", "findings"]
    assert lines[3].split()[-4:] == ["512", "conv", "BN005", "BN010"]


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


def test_nothing_but_code_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    intervals = [
        ScoreInterval("loss", kind, 2.0, 1.9, 2.1, "sample", 64)
        for kind in ("running", "batch", "precise", "running - precise")
    ]
    report = Contents(
        "Net",
        scores={"loss": {"running": 2.0, "batch": 1.0, "precise": 1.0}},
        intervals=tuple(intervals),
        norms=tuple(NormRow(f"bn{i}", "N", i, 1, "standing", "why " * 20) for i in range(4)),
        notes=("a note " * 20,),
        facts={"a figure": "long " * 20},
    )
    file = Terminal()
    print_report(report, verbose=True, file=file)
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue()).splitlines())) <= 60


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


def test_norms_with_other_sizes_or_findings_are_rows_of_their_own() -> None:
    norms = tuple(
        NormRow(f"b.{i}", "BatchNorm2d", 8, 1, "standing", "why", values=64 >> i % 2)
        for i in range(8)
    )
    lines = printed(Contents("Net", norms=norms))
    assert [line.split()[0] for line in lines if line.startswith("b.")] == [
        "b.{0,2,4,6}",
        "b.{1,3,5,7}",
    ]

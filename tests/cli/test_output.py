import shutil
from pathlib import Path

import pytest

from bnconvert.cli.output import command_line, placed, save, show
from bnconvert.reporting.records import Finding, NormRow
from bnconvert.reporting.report import Report


def test_a_report_is_printed_and_saved_by_its_suffix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(Report("title"), tmp_path / "r.html")
    assert capsys.readouterr().out == "title\n"
    assert "<h1>title</h1>" in (tmp_path / "r.html").read_text()
    save(Report("title"), tmp_path / "r.json")
    assert '"title": "title"' in (tmp_path / "r.json").read_text()
    save(Report("title"), None)


def test_a_command_line_can_be_typed_as_it_is() -> None:
    options = {"batch_size": 4, "samples": None, "mean": (0.5, 0.0, 1.0), "data": "images:my dir"}
    line = command_line("recompute", "a.py:f", **options)
    assert line == (
        "bnconvert recompute a.py:f --batch-size 4 --mean 0.5 0.0 1.0 --data 'images:my dir'"
    )


@pytest.mark.parametrize("failure", [RuntimeError("PytorchStreamWriter failed"), OSError(5, "io")])
def test_a_file_moves_into_place_whole_or_the_old_one_stays(
    tmp_path: Path, failure: Exception
) -> None:
    target = tmp_path / "w.pt"
    target.write_text("old")

    def half() -> None:
        with placed(target) as draft:
            draft.write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        half()
    assert target.read_text() == "old"
    with placed(target) as draft:
        draft.write_text("new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_called_full_whatever_the_library_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(OSError, match="No space left on device"), placed(tmp_path / "w.pt"):
        raise RuntimeError("[enforce fail at inline_container.cc:603]")


def test_markup_in_names_is_text_in_html(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    rows = (NormRow(evil, evil, 4, 1, evil, evil),)
    finding = Finding("BN101", "error", (evil,), evil, evil)
    report = Report(evil, norms=rows, findings=(finding,), notes=(evil,), facts={evil: evil})
    save(report, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 10

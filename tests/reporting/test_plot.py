import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bnconvert.errors import ReportError
from bnconvert.reporting.plot import draw
from bnconvert.reporting.records import Contents, ScoreInterval, StatisticsRow

pytest.importorskip("matplotlib.figure")
SCORES = {
    "loss": {"running": 2.345, "batch": 0.5, "precise": 0.25},
    "metric": {"running": float("nan"), "batch": 0.1, "precise": 0.1},
}


def row(path: str, against: str = "precise", off: float | None = 0.5) -> StatisticsRow:
    return StatisticsRow(path, "BatchNorm2d", 8, 64, off, off, 0.02, 100, against)


def rows(count: int, against: str = "precise") -> tuple[StatisticsRow, ...]:
    return tuple(row(f"block.{index}.norm", against) for index in range(count))


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where to draw; SVG keeps its text as text there."""
    monkeypatch.setitem(pytest.importorskip("matplotlib").rcParams, "svg.fonttype", "none")
    return tmp_path / "p.svg"


def texts(file: Path) -> list[str]:
    return [e.text or "" for e in ElementTree.parse(file).iter() if e.tag.endswith("}text")]


def size(file: Path) -> tuple[float, float]:
    root = ElementTree.parse(file).getroot()
    width, height = (float(root.attrib[name].removesuffix("pt")) for name in ("width", "height"))
    return width, height


def test_every_norm_is_named_once_for_all_kinds_of_statistics(drawn: Path) -> None:
    draw(Contents("a title", statistics=rows(3) + rows(3, "batch")), drawn)
    said = texts(drawn)
    assert [said.count(f"block.{index}.norm") for index in range(3)] == [1, 1, 1]
    assert "a title" in said
    for kind in ("precise", "batch"):
        assert f"distance from the {kind} statistics, in their sigma" in said


def test_a_norm_that_only_one_kind_has_keeps_its_line(drawn: Path) -> None:
    draw(Contents("t", statistics=(row("a"), row("b"), row("b", "batch"))), drawn)
    assert [text for text in texts(drawn) if text in ("a", "b")] == ["a", "b"]


def test_many_norms_make_it_taller_and_not_denser(drawn: Path) -> None:
    heights = []
    for count in (2, 22, 42):
        draw(Contents("t", statistics=rows(count)), drawn)
        heights.append(size(drawn)[1])
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1])
    assert 10 < (heights[1] - heights[0]) / 20 < 20, "points for a line of text"


def test_scores_are_written_at_their_bars(drawn: Path) -> None:
    draw(Contents("t", statistics=rows(2), scores=SCORES), drawn)
    said = texts(drawn)
    assert {"loss", "metric", "running", "batch", "2.35", "0.5", "0.25", "0.1"} <= set(said)
    assert said.count("not finite") == 1


def test_a_score_has_whiskers_where_its_interval_is_known(drawn: Path) -> None:
    known = ScoreInterval("loss", "running", 2.345, 2.0, 2.7, "sample", 64)
    unknown = ScoreInterval("metric", "batch", 0.1, None, None, "batch", 3)
    draw(
        Contents("t", statistics=rows(2), scores=SCORES, intervals=(known, unknown)),
        drawn,
    )
    assert texts(drawn).count("whiskers: 99% intervals") == 1


@pytest.mark.parametrize("off", [None, 0.0, 1e-9, 1e9])
def test_extreme_distances_are_drawn_too(drawn: Path, off: float | None) -> None:
    draw(Contents("t", statistics=(row("a", off=off), row("b"))), drawn)
    assert texts(drawn).count("was not finite") == (off is None)


def test_a_report_without_statistics_has_no_picture(drawn: Path) -> None:
    with pytest.raises(ReportError, match="a title: no statistics to plot; recompute or diagnose"):
        draw(Contents("a title", scores=SCORES), drawn)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    for name in ("p.docx", "p"):
        with pytest.raises(ReportError, match=rf"{name}: is not a format of plots; use .png"):
            draw(Contents("t", statistics=rows(1)), tmp_path / name)


def test_without_matplotlib_it_is_said_how_to_get_it(
    drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ReportError, match=r"cannot be imported .* pip install 'bnconvert\[plot\]'"):
        draw(Contents("t", statistics=rows(1)), drawn)

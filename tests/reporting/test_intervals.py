from dataclasses import replace

from bnconvert.reporting.intervals import intervals_text, within
from bnconvert.reporting.notebook import notebook_html_of
from bnconvert.reporting.records import Contents, ScoreInterval
from bnconvert.reporting.rendering import text_of

RUNNING = ScoreInterval("loss", "running", 2.1, 2.0, 2.25, "sample", 640)
PRECISE = ScoreInterval("loss", "precise", 0.5, None, None, "sample", 640)


def test_each_score_has_a_line() -> None:
    metric = replace(RUNNING, score="metric", unit="batch", units=8)
    assert intervals_text([RUNNING, PRECISE, metric]) == [
        "loss: 99% intervals by bootstrap over 640 samples: running (2 to 2.25), "
        "precise not finite",
        "metric: 99% intervals by bootstrap over 8 batches: running (2 to 2.25)",
    ]
    assert within(PRECISE) == ""


def test_too_few_are_no_interval_and_the_way_out_is_said() -> None:
    few = replace(PRECISE, units=3)
    assert intervals_text([few]) == [
        "loss: too few samples to judge a difference by (3 < 8); give more"
    ]
    assert intervals_text([replace(few, unit="batch")])[0].endswith(
        "too few batches to judge a difference by (3 < 8); give more, or let loss return one value "
        "for each sample"
    )


def test_reports_and_pages_show_them() -> None:
    contents = Contents("t", scores={"loss": {"running": 2.1}}, intervals=(RUNNING,))
    assert "over 640 samples: running (2 to 2.25)" in text_of(contents)
    assert "over 640 samples: running (2 to 2.25)" in notebook_html_of(contents)

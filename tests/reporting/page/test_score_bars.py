from math import inf

from bnconvert.reporting.page.score_bars import WIDTH, score_bars
from bnconvert.reporting.records import Contents, ScoreInterval


def test_bars_are_as_long_as_the_scores() -> None:
    scores = {"loss": {"running": 2.0, "batch": 1.0, "precise": inf}}
    running, batch, precise = score_bars(Contents("t", scores=scores))["loss"]
    assert running.width == WIDTH == 2 * batch.width == precise.width
    assert {bar.left for bar in (running, batch, precise)} == {0}
    assert (running.value, precise.value) == ("2", "not finite")
    assert score_bars(Contents("t")) == {}


def test_a_bar_begins_at_zero_and_the_interval_stands_in_the_words() -> None:
    interval = ScoreInterval("loss", "running", -1.0, -1.5, -0.5, "sample", 64)
    scores = {"loss": {"running": -1.0, "precise": 0.5}}
    running, precise = score_bars(Contents("t", scores=scores, intervals=(interval,)))["loss"]
    assert running.left + running.width == precise.left == 0.75 * WIDTH
    assert (running.low, running.high) == (0, WIDTH / 2)
    assert running.value == "-1 (-1.5 to -0.5)"


def test_scores_of_zero_have_bars_of_no_length() -> None:
    (bar,) = score_bars(Contents("t", scores={"loss": {"running": 0.0}}))["loss"]
    assert (bar.left, bar.width, bar.value) == (0, 1, "0")

from math import inf

import pytest

from bnconvert.reporting.page.score_bars import score_bars
from bnconvert.reporting.records import Contents


def test_bars_are_as_long_as_the_scores() -> None:
    scores = {"loss": {"running": 2.0, "batch": 1.0, "precise": inf}}
    running, batch, precise = score_bars(Contents("t", scores=scores))["loss"]
    assert running.x - 100 == pytest.approx(2 * (batch.x - 100))
    assert (running.value, precise.value) == ("2", "not finite")
    assert score_bars(Contents("t")) == {}

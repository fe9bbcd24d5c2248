from pathlib import Path

import pytest

from tests.samples.sample import sample, table_of

pytestmark = pytest.mark.slow


def test_statistics_after_compression_are_worth_re_estimating(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    after_compression = sample("after_compression", "matplotlib", "mlxtend")
    assert after_compression.main(["--output", str(tmp_path)]) == 0
    rows = table_of(capsys.readouterr().out)
    assert max(rows["0%"]) < 8
    assert max(rows["8"]) < 8
    for name in ("70%", "80%"):
        before, after = rows[name]
        assert before > 30
        assert after < before / 2
    assert rows["3"][1] < rows["3"][0]
    assert rows["2"][1] > 30  # the weights are gone, and no statistics bring them back
    assert (tmp_path / "after_compression.png").stat().st_size > 20_000

from pathlib import Path

import pytest

from tests.samples.sample import sample, table_of

pytestmark = pytest.mark.slow


def test_a_restored_network_trains_as_the_unfolded_one_and_the_folded_one_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    restoring = sample("fold_and_restore", "matplotlib", "mlxtend")
    assert restoring.main(["--output", str(tmp_path)]) == 0
    losses = table_of(capsys.readouterr().out)
    assert losses["restored"] == pytest.approx(losses["unfolded"], abs=0.02)
    assert not losses["folded"][2] < 2 * losses["unfolded"][2]  # it may be NaN
    assert losses["restored, file"][2] < 3 * losses["unfolded"][2]
    assert (tmp_path / "fold_and_restore.png").stat().st_size > 20_000

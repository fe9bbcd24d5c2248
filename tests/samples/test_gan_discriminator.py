from pathlib import Path

import pytest

from tests.samples.sample import sample, table_of

pytestmark = pytest.mark.slow


def test_an_update_changes_no_training_and_running_statistics_give_the_fakes_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gan = sample("gan_discriminator", "matplotlib", "mlxtend")
    assert gan.main(["--output", str(tmp_path)]) == 0
    rows = table_of(capsys.readouterr().out)
    assert rows["both update"][:2] == rows["update_statistics(False)"][:2]
    assert rows["both update"][2:] != rows["update_statistics(False)"][2:]
    for way in ("both update", "together", "update_statistics(False)"):
        assert sum(rows[way][:2]) > 10  # the game is even
    assert max(rows['use_statistics("running")'][:2]) < 10
    assert (tmp_path / "gan_discriminator.png").stat().st_size > 20_000

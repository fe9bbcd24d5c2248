from pathlib import Path

import pytest

from tests.samples.sample import sample, table_of

pytestmark = pytest.mark.slow


def test_batches_of_clean_and_of_adversarial_images_need_statistics_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adversarial = sample("adversarial_training", "matplotlib", "mlxtend")
    assert adversarial.main(["--output", str(tmp_path)]) == 0
    rows = table_of(capsys.readouterr().out)
    assert list(rows) == list(adversarial.WAYS)
    clean, attacked = zip(*rows.values(), strict=True)
    assert attacked[0] > 90
    assert attacked[3] < attacked[1] - 4  # separate against shared, a batch of each
    assert attacked[2] < attacked[1] - 4  # and so does one mixed batch
    assert max(clean) < 10
    assert (tmp_path / "adversarial_training.png").stat().st_size > 15_000

from pathlib import Path

import pytest

from tests.samples.sample import sample, table_of

pytestmark = pytest.mark.slow


def test_two_images_are_too_few_and_the_remedies_take_the_noise_out_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch_size = sample("normalization_batch_size", "matplotlib", "mlxtend")
    assert batch_size.main(["--output", str(tmp_path)]) == 0
    rows = table_of(capsys.readouterr().out)
    training, validation = (
        [rows[f"batch norm by {size}"][place] for size in (2, 4, 8, 16, 32, 64)] for place in (0, 1)
    )
    assert training[0] > training[1] > training[2] > training[-1]
    assert training[0] > 10
    assert training[-1] < 2
    assert validation[0] > min(validation[2:]) + 3
    assert max(validation[2:]) < min(validation[2:]) + 3  # from 8 on it matters little
    for remedy in ("by 2, frozen late", "by 2, Renorm", "Group(8)"):
        assert rows[remedy][0] < training[0] / 2
        assert abs(rows[remedy][1] - validation[0]) < 6
    assert (tmp_path / "normalization_batch_size.png").stat().st_size > 20_000

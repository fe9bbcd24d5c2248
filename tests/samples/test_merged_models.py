from pathlib import Path

import pytest

from tests.samples.sample import sample, table_of

pytestmark = pytest.mark.slow


def test_the_barrier_between_matched_networks_is_largely_one_of_statistics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged_models = sample("merged_models", "matplotlib", "mlxtend", "sklearn")
    assert merged_models.main(["--output", str(tmp_path)]) == 0
    rows = table_of(capsys.readouterr().out)
    barrier = {name: numbers[-1] for name, numbers in rows.items()}
    assert barrier["as they are"] > 50
    assert barrier["as they are, recomputed"] < barrier["as they are"] - 10
    assert barrier["matched"] < 40
    assert barrier["matched, recomputed"] < 0.6 * barrier["matched"]
    assert (tmp_path / "merged_models.png").stat().st_size > 20_000

from pathlib import Path

import pytest

from tests.samples.sample import sample, table_of

pytestmark = pytest.mark.slow


def test_statistics_of_the_target_help_where_it_is_scaled_and_shifted_and_not_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapt = sample("adapt_to_target", "matplotlib", "mlxtend")
    assert adapt.main(["--output", str(tmp_path)]) == 0
    rows = table_of(capsys.readouterr().out)
    for shift in ("less contrast", "brighter"):
        as_trained, recomputed, by_64, by_4, batch_alone = rows[shift]
        assert as_trained > 70
        assert recomputed < 20
        assert by_64 < 45
        assert batch_alone < 45 < by_4  # 16 of the source outweigh 4 of the target
    assert rows["noise"][1] < rows["noise"][0] - 5
    assert rows["noise"][1] > 15
    assert min(rows["inverted"]) > 60
    assert max(rows["clean"][:4]) < 8
    assert rows["clean"][4] > rows["clean"][0] + 4
    by_class = rows["less contrast, sorted by class"]
    assert by_class[1] == rows["less contrast"][1]
    assert by_class[2] > rows["less contrast"][2] + 15
    assert (tmp_path / "adapt_to_target.png").stat().st_size > 20_000

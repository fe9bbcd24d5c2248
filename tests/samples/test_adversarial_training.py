import re
from pathlib import Path

import pytest

from tests.samples.sample import sample

pytestmark = pytest.mark.slow


def test_weak_attacks_help_and_separate_statistics_cost_no_more_than_shared_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adversarial = sample("adversarial_training", "matplotlib", "mlxtend")
    assert adversarial.main(["--output", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    rows = {
        line[:46].strip(): [
            (float(clean), float(wrong))
            for clean, wrong in re.findall(r"([\d.]+) \((\d+)\)", line[46:])
        ]
        for line in lines
    }
    assert list(rows) == ["no attack in training", *adversarial.COLORS]
    ((alone, attacked),) = rows.pop("no attack in training")
    assert attacked > 60
    for way, by_reach in rows.items():
        assert by_reach[0][0] < alone, way
        assert by_reach[0][1] < attacked - 20, way
    strong = {way: by_reach[-1][0] for way, by_reach in rows.items()}
    assert strong["separate"] < strong["a batch of each"] + 1
    assert (tmp_path / "adversarial_training.png").stat().st_size > 20_000

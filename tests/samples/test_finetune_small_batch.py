from pathlib import Path
from types import ModuleType

import pytest

from tests.samples.sample import sample

pytestmark = pytest.mark.slow


def test_fine_tuning_with_two_images_prints_what_happens(
    lite0: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finetuning = sample("finetune_small_batch")
    assert finetuning.main(["--output", str(tmp_path)]) == 0
    rows = {
        line[:12].strip(): [float(number) for number in line[12:].rstrip("% ").split()]
        for line in capsys.readouterr().out.splitlines()
        if line.endswith("%") and not line.startswith("losses")
    }
    assert list(rows) == ["batch norm", "frozen", "group norm", "renorm"]
    training, seen, _, right = zip(*rows.values(), strict=True)
    assert seen[1] < 0.5  # frozen norms learn the crops
    assert training[1] < training[0]  # which the noise of two images hinders
    assert seen[3] < seen[0]
    assert all(0 <= share <= 100 for share in right)
    assert (tmp_path / "finetune_small_batch.png").stat().st_size > 20_000

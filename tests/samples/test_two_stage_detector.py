from pathlib import Path

import pytest

from tests.samples.sample import sample, table_of

pytestmark = pytest.mark.slow


def test_a_detector_with_a_policy_by_path_learns_and_ends_as_a_verified_file(
    lite0: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = sample("two_stage_detector", "torchvision", "matplotlib", "mlxtend")
    assert detector.main(["--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    rows = table_of(printed)
    assert list(rows) == ["batch norm", "frozen, group norm"]
    for right, wrong, _ in rows.values():
        assert right > 40
        assert wrong < 60
    assert "detector.onnx agrees with" in printed
    assert "of 17 norms\n15 folded, 2 standing" in printed
    assert (tmp_path / "detector.onnx").is_file()
    assert (tmp_path / "two_stage_detector.png").stat().st_size > 20_000

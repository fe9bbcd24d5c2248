import re
from pathlib import Path

import pytest

from tests.samples.sample import sample

pytestmark = pytest.mark.slow


def test_false_overfitting_is_named_mended_and_not_seen_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    false_overfitting = sample("false_overfitting", "sklearn", "matplotlib")
    assert false_overfitting.main(["--output", str(tmp_path)]) == 0
    by_epoch, before, after, control, _ = capsys.readouterr().out.split("\n\n")
    rows = [[float(number) for number in line.split()] for line in by_epoch.splitlines()[2:]]
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6]
    _, validation, validation_precise, training, training_precise = zip(*rows, strict=True)
    for running, precise in (
        (validation, validation_precise),
        (training, training_precise),
    ):
        assert sum(running[-3:]) > 2 * sum(precise[-3:])
        assert precise[-1] < 15

    def rates(diagnosis: str) -> list[float]:
        first = diagnosis.splitlines()[0]
        return [float(rate) for rate in re.findall(r"([\d.]+) \([\d.]+ to [\d.]+\) by", first)]

    assert "BN202 error: false overfitting" in before
    gap = re.search(r"more than by precise: ([\d.]+) \(([\d.]+) to ([\d.]+)\)", before)
    assert gap is not None
    assert 5 < float(gap[2]) < float(gap[1]) < float(gap[3])
    assert rates(before)[0] > 2 * max(rates(before)[1:])
    assert "BN202" not in after
    assert rates(after)[0] == pytest.approx(rates(before)[2], abs=0.5)
    assert "no findings" in control
    assert max(rates(control)) < 2
    for picture in ("false_overfitting.png", "diagnosis.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG"), picture
        assert (tmp_path / picture).stat().st_size > 10_000, picture

from pathlib import Path

import pytest

from tests.samples.sample import sample

pytestmark = pytest.mark.slow


def test_two_domains_need_statistics_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_domains = sample("two_domains", "mlxtend", "sklearn")
    assert two_domains.main(["--output", str(tmp_path)]) == 0
    rows = {
        line[2:42].strip(): [float(number) for number in line[42:].split()]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("  ")
    }
    assert list(rows) == [
        "shared",
        "shared, eval by the batch",
        "separate",
        "separate, affine too",
        "separate, mixed batches",
        "one range, shared",
        "one range, separate",
    ]
    assert rows["shared"][0] > 30  # the digits, under an average of both domains
    for way in list(rows)[1:5]:
        assert max(rows[way]) < 12, way
    assert (tmp_path / "two_domains.png").stat().st_size > 20_000

from pathlib import Path

import pytest

from tests.samples.sample import sample

pytestmark = pytest.mark.slow


def test_a_target_network_without_the_buffers_teaches_nothing_and_is_diagnosed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target_network = sample("target_network", "gymnasium", "matplotlib", "mlxtend")
    assert target_network.main(["--output", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    lengths = {
        way: [float(line.split()[-2]) for line in lines if line.startswith(f"  {way}  ")]
        for way in target_network.WAYS
    }
    assert max(lengths["parameters only"]) < 20
    assert min(lengths["parameters and buffers"]) > 50
    found = [index for index, line in enumerate(lines) if "BN103" in line]
    assert len(found) == 1  # of the first way's target network
    assert found[0] < lines.index(next(line for line in lines if "and buffers" in line))
    assert (tmp_path / "target_network.png").stat().st_size > 20_000

import os
import re
import subprocess
import sys

import pytest

from tests.samples.sample import SAMPLES, sample


@pytest.mark.slow
@pytest.mark.parametrize("shares", [[1, 2], [2, 1, 0]], ids=str)
def test_ranks_with_unequal_shares_agree_with_one_process(shares: list[int]) -> None:
    pytest.importorskip("sklearn")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(len(shares))]
    command += ["--standalone", str(SAMPLES / "distributed_statistics.py")]
    command += ["--shares", *map(str, shares)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^rank (\d): (\d+) images, checksum (\w+)$", done.stdout, re.MULTILINE)
    ranks, images, checksums = zip(*sorted(found), strict=True)
    assert ranks == tuple(map(str, range(len(shares))))
    assert images == tuple(str(599 * share) for share in shares)
    assert len(set(checksums)) == 1
    assert f"{len(shares)} ranks agree; one process on all 1797 images" in done.stdout


def test_without_torchrun_the_distributed_sample_says_how_to_start_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert sample("distributed_statistics").main([]) == 2
    assert "torchrun --nproc-per-node 2 samples/distributed" in capsys.readouterr().err

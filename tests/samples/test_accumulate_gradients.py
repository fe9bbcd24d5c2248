from pathlib import Path

import pytest

from tests.samples.sample import sample, table_of

pytestmark = pytest.mark.slow


def test_accumulation_does_not_enlarge_the_batch_that_normalizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accumulate = sample("accumulate_gradients", "matplotlib", "mlxtend")
    assert accumulate.main(["--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    rows = table_of(printed)
    batch, group = rows["batch norm"], rows["group norm"]
    assert len(batch) == len(group) == len(accumulate.SIZES)
    assert batch[0] < 12
    assert batch[-1] > 2 * batch[0] + 10  # two images, although each step is over 32
    assert max(group) < 1.5 * min(group)
    plain, adapted = rows["momentum 0.1"], rows["momentum adapted"]
    assert (plain[0], adapted[0]) == (0.1, 0.0131)
    assert adapted[2] < plain[2]  # the spread of the error over the last steps
    assert "the weights of both are equal" in printed
    assert (tmp_path / "accumulate_gradients.png").stat().st_size > 20_000

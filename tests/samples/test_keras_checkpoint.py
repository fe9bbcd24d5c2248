from pathlib import Path

import pytest

from tests.samples.sample import sample, table_of

# The warning is of Keras' own code, about torch's tensors and numpy 2.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def test_a_keras_checkpoint_is_carried_over_with_its_eps_and_momentum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # without it, Keras looks for TensorFlow
    keras_checkpoint = sample("keras_checkpoint", "keras", "h5py", "matplotlib", "mlxtend")
    assert keras_checkpoint.main(["--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.replace("(mean over 100 steps)", "")
    rows = table_of(printed)
    wrong, difference = rows["carried over"]
    assert wrong == rows["Keras"][0]
    assert difference < 1e-4
    assert rows["torch's eps, 1e-5"][1] > 0.1
    assert rows["carried over, recomputed"][0] < wrong / 2
    theirs, ours = rows["momentum 0.99, as in Keras"][0], rows["momentum 0.01, carried over"][0]
    assert theirs > 1.5 * ours
    assert (tmp_path / "keras_checkpoint.png").stat().st_size > 20_000

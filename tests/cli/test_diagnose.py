import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from bnconvert.cli.models.model_source import load_model
from tests.cli.conftest import Run

SCORES = """
def size(output, batch):
    return output.square().mean()

def wrong(output, batch):
    return "wrong"
"""


@pytest.fixture
def data(factory: str) -> list[str]:
    """Write 96 images of two classes beside the factories; return the option."""
    images = torch.randn(96, 3, 8, 8) * 3 + 1
    np.savez("data.npz", x=images.numpy(), labels=np.arange(96) % 2)
    return ["--data", "npz:data.npz", "--batch-size", "16"]


def test_stale_statistics_are_a_failure_with_the_command_that_mends_it(
    run: Run, factory: str, data: list[str]
) -> None:
    result = run("diagnose", f"{factory}:classifier", *data, "--samples", "80")
    assert (result.code, result.err) == (1, "")
    assert "error BN201  0.norm\n  the running statistics are not those of the" in result.out
    assert "diagnosis over 80 samples" in result.out
    last = result.out.splitlines()[-1]
    mending = shlex.split(last.removeprefix("to recompute the statistics: bnconvert "))
    assert mending[-2:] == ["--output", "recomputed.safetensors"]
    assert run(*mending).code == 0
    weights = ["--weights", "recomputed.safetensors"]
    mended = run("diagnose", f"{factory}:classifier", *data, "--samples", "80", *weights)
    assert mended.code == 0
    assert "to recompute" not in mended.out


def test_findings_fail_from_the_wanted_severity_on(run: Run, factory: str, data: list[str]) -> None:
    where = f"{factory}:classifier"
    assert run("diagnose", where, *data, "--fail-on", "warning").code == 1
    assert run("diagnose", where, *data, "--fail-on", "never").code == 0


def test_data_with_classes_are_scored_by_all_three_statistics(
    run: Run, factory: str, data: list[str]
) -> None:
    run("diagnose", f"{factory}:classifier", *data, "--report", "r.json")
    report = json.loads(Path("r.json").read_text())
    assert list(report["scores"]) == ["loss", "metric"]
    assert list(report["scores"]["metric"]) == ["running", "batch", "precise"]
    assert all(0 <= value <= 1 for value in report["scores"]["metric"].values())
    assert {row["against"] for row in report["statistics"]} == {"precise", "batch"}


def test_a_loss_of_ones_own_is_asked(run: Run, factory: str, data: list[str]) -> None:
    Path("scores.py").write_text(SCORES)
    options = ["--loss", "scores.py:size", "--report", "r.json"]
    run("diagnose", f"{factory}:classifier", *data, *options)
    scores = json.loads(Path("r.json").read_text())["scores"]
    model, _ = load_model(f"{factory}:classifier", None, None)
    with np.load("data.npz") as archive, torch.no_grad():
        naive = model(torch.from_numpy(archive["x"])).square().mean()
    assert scores["loss"]["running"] == pytest.approx(float(naive), rel=1e-5)


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("classifier", ["--loss", "scores.py:none"], "scores.py: has no function none"),
        (
            "classifier",
            ["--metric", "scores.py:wrong"],
            "--metric scores.py:wrong: raised TypeError",
        ),
        ("plain", [], "the cross entropy: raised"),
        ("two_inputs", [], "the model raised TypeError"),
        ("without_statistics", [], "no norm has running statistics"),
    ],
)
def test_what_cannot_be_diagnosed_is_exit_code_four(
    run: Run, factory: str, data: list[str], model: str, options: list[str], said: str
) -> None:
    Path("scores.py").write_text(SCORES)
    result = run("diagnose", f"{factory}:{model}", *data, *options)
    assert (result.code, result.out) == (4, "")
    assert said in result.err
    assert result.err.count("\n") <= 2


def test_the_picture_shows_the_scores_too(run: Run, factory: str, data: list[str]) -> None:
    pytest.importorskip("matplotlib")
    run("diagnose", f"{factory}:classifier", *data, "--plot", "p.png")
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")

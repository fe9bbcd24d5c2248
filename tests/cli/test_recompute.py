import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import bnconvert as bnc
from bnconvert.statistics.recomputation import Method
from tests.cli.conftest import Run
from tests.zoo import build


@pytest.fixture
def images(factory: str) -> torch.Tensor:
    """Write images.npz beside the factories, and return what is in it."""
    images = torch.randn(10, 3, 8, 8) * 3 + 1
    np.savez("images.npz", x=images.numpy(), labels=np.arange(10))
    return images


@pytest.mark.parametrize("method", ["layerwise", "aggregate", "ema"])
def test_the_weights_are_those_of_the_function_on_the_same_batches(
    run: Run, factory: str, images: torch.Tensor, method: Method
) -> None:
    arguments = ["--data", "npz:images.npz", "--batch-size", "4", "--method", method]
    result = run("recompute", f"{factory}:plain", *arguments, "-o", "w.safetensors")
    assert (result.code, result.err) == (0, "")
    model, _ = build("plain")
    bnc.recompute_statistics(model, images.split(4), method=method)
    written = load_file("w.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(written[name], value), name
    with safe_open("w.safetensors", "pt") as file:
        assert file.metadata()["bnconvert.statistics"] == f"{method} over npz:images.npz"


def test_the_written_weights_load_and_nothing_is_off_any_more(
    run: Run, factory: str, images: torch.Tensor
) -> None:
    for file in ("w.safetensors", "w.pt"):
        first = ["recompute", f"{factory}:plain", "--data", "npz:images.npz", "-o", file]
        said = run(*first, "--report", "before.json").out
        assert "1 sets of running statistics, layerwise" in said
        assert f"wrote {file}; use it with --weights {file}" in said
        again = ["--weights", file, "--report", "after.json"]
        assert run(*first, *again).code == 0
        before, after = (
            json.loads(Path(name).read_text())["statistics"][0]
            for name in ("before.json", "after.json")
        )
        assert before["mean_distance"] > 0.1 > 1e-5 > after["mean_distance"]
        assert before["deviation_distance"] > 0.1 > 1e-5 > after["deviation_distance"]


def test_images_are_read_as_the_options_say(run: Run, factory: str) -> None:
    image = pytest.importorskip("PIL.Image")
    Path("folder").mkdir()
    for value in (0, 51, 255):
        image.new("L", (9, 7), value).save(f"folder/{value}.png")
    options = ["--img-size", "4", "--mean", "0", "0", "0", "--std", "1", "1", "1"]
    more = ["--interpolation", "nearest", "--crop-pct", "0.5", "-o", "w.pt"]
    where = f"{factory}:only_norm"
    assert run("recompute", where, "--data", "images:folder", *options, *more).code == 0
    mean = torch.load("w.pt", weights_only=True)["running_mean"]
    torch.testing.assert_close(mean, torch.full((3,), (0 + 0.2 + 1) / 3))


def test_it_stops_after_enough_samples_and_keeps_to_the_memory_limit(
    run: Run, factory: str, images: torch.Tensor
) -> None:
    options = ["--batch-size", "2", "--samples", "3", "--memory-limit", "0.001", "--report", "r"]
    where = f"{factory}:plain"
    assert run("recompute", where, "--data", "npz:images.npz", *options, "-o", "w.pt").code == 0
    assert json.loads(Path("r").read_text())["statistics"][0]["samples"] == 4


def test_the_picture_is_drawn(run: Run, factory: str, images: torch.Tensor) -> None:
    pytest.importorskip("matplotlib")
    options = ["--data", "npz:images.npz", "-o", "w.pt", "--plot", "p.svg"]
    assert run("recompute", f"{factory}:plain", *options).code == 0
    assert "<svg" in Path("p.svg").read_text()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--data", "random:2,3,8,8"], 4, "random numbers have statistics of their own"),
        (["--data", "npz:none.npz"], 4, "error: none.npz: there is no such file"),
        (["--data", "npz:images.npz", "--method", "median"], 2, "median"),
        (["--data", "npz:images.npz", "--interpolation", "cubic"], 2, "bilinear"),
        (["--data", "npz:images.npz", "--std", "0", "1", "1"], 4, "divide by positive numbers"),
        (["--data", "npz:images.npz", "--plot", "p.txt"], 2, "use one of .png, .svg, .pdf"),
        (["--data", "npz:images.npz", "--report", "none/r.json"], 2, "there is no folder none"),
        (["--data", "npz:images.npz", "-o", "none/w.pt"], 2, "there is no folder none"),
        ([], 2, "--data"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_work(
    run: Run, factory: str, images: torch.Tensor, options: list[str], code: int, said: str
) -> None:
    result = run("recompute", f"{factory}:plain", "-o", "w.pt", *options)
    assert (result.code, result.out) == (code, "")
    assert said in " ".join(result.err.replace("│", " ").split()), "whatever the terminal's width"
    assert not Path("w.pt").exists()


def test_a_model_without_statistics_is_refused(
    run: Run, factory: str, images: torch.Tensor
) -> None:
    data = ["--data", "npz:images.npz", "-o", "w.pt"]
    result = run("recompute", f"{factory}:without_statistics", *data)
    assert result.code == 4
    assert result.err.startswith("error: no norm has running statistics to recompute; convert or")
    assert not Path("w.pt").exists()


def test_a_model_from_the_zoo_reads_images_as_it_wants_them(run: Run, factory: str) -> None:
    pytest.importorskip("timm")
    image = pytest.importorskip("PIL.Image")
    for name, grey in (("a", 30), ("b", 90), ("b", 200)):
        Path("folder", name).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(grey).integers(0, grey, (40, 50), dtype=np.uint8)
        image.fromarray(noise).save(f"folder/{name}/{grey}.png")
    options = ["--data", "imagefolder:folder", "--img-size", "32", "-o", "w.safetensors"]
    result = run("recompute", "timm:test_efficientnet", *options)
    assert (result.code, result.err) == (0, "")
    assert run("inspect", "timm:test_efficientnet", "--weights", "w.safetensors").code == 0

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import bnconvert as bnc
from bnconvert.cli.sources.data import Data
from bnconvert.cli.sources.data_source import load_data
from bnconvert.cli.sources.domain_names import domain_function
from bnconvert.cli.sources.images import ImagePreprocessing
from tests.cli.conftest import Run
from tests.zoo import Net

SMALL = ImagePreprocessing(img_size=8, crop_pct=1.0)


def load(source: str, domains: str | None) -> Data:
    return load_data(source, Net(), 2, SMALL, domains=domains)


def names(data: Data) -> list[list[str]]:
    assert data.domains is not None
    return [data.domains(batch) for batch in data.batches]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (np.array(["night", "day", "day", "day"]), [["night", "day"], ["day", "day"]]),
        (np.array([3, 7, 3, 3]), [["3", "7"], ["3", "3"]]),
    ],
)
def test_an_array_of_an_npz_names_the_domain_of_each_sample(
    column: np.ndarray, expected: list[list[str]], tmp_path: Path
) -> None:
    images = np.zeros((4, 3, 8, 8), dtype=np.float32)
    np.savez(tmp_path / "d.npz", pixels=images, light=column, y=np.arange(4))
    data = load(f"npz:{tmp_path / 'd.npz'}", "light")
    assert names(data) == expected
    assert data.labels is not None  # the domain is none of them


def test_the_folders_of_a_folder_are_domains_and_no_classes(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for folder in ("day", "night"):
        (tmp_path / folder).mkdir()
        for grey in range(2):
            image.new("L", (8, 8), grey).save(tmp_path / folder / f"{grey}.png")
    data = load(f"imagefolder:{tmp_path}", "folders")
    assert sorted(name for batch in names(data) for name in batch) == 2 * ["day"] + 2 * ["night"]
    assert data.labels is None
    assert load(f"imagefolder:{tmp_path}", None).domains is None


def test_a_function_of_the_user_names_them(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def of(batch): return batch['light']\ndef bad(batch): return batch['none']\nnumber = 3\n"
    )
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 3, 8, 8)), light=np.arange(2))
    data = load(f"npz:{tmp_path / 'd.npz'}", f"{tmp_path / 'mine.py'}:of")
    assert data.domains is not None
    assert [data.domains(batch).tolist() for batch in data.batches] == [[0, 1]]
    with pytest.raises(bnc.BnconvertError, match="raised KeyError: 'none'; return a name for"):
        domain_function(f"{tmp_path / 'mine.py'}:bad")({})


def test_diagnose_says_where_domains_differ(run: Run, factory: str) -> None:
    images = torch.randn(128, 3, 8, 8)
    images[::2] += 4
    light = np.array(["day", "night"] * 64)
    np.savez("data.npz", x=images.numpy(), light=light)
    arguments = ["--data", "npz:data.npz", "--batch-size", "32", "--domains", "light"]
    result = run("diagnose", f"{factory}:classifier", *arguments, "--report", "r.json")
    assert result.code == 1
    assert "--domains" not in result.out.splitlines()[-1]  # recompute takes no such option
    found = {f["id"]: f for f in json.loads(Path("r.json").read_text())["findings"]}
    assert "'day'" in found["BN206"]["message"] or "'night'" in found["BN206"]["message"]

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.cli.models.model_options import ModelChoice
from bnconvert.cli.sources.data import Data
from bnconvert.cli.sources.data_source import load_data, preprocessing_of
from bnconvert.cli.sources.images import ImagePreprocessing
from bnconvert.errors import LoadError
from tests.zoo import Net, trained

SMALL = ImagePreprocessing(img_size=8, crop_pct=1.0)
LOADERS = """
import itertools
import torch
from torch.utils.data import DataLoader, TensorDataset

batches = [torch.full((2, 3, 8, 8), float(index)) for index in range(3)]
tensor, number = torch.zeros(4, 3, 8, 8), 3

def loader():
    return DataLoader(TensorDataset(torch.zeros(4, 3, 8, 8), torch.arange(4)), batch_size=2)

def endless():
    return itertools.cycle(batches)

def broken():
    raise RuntimeError("the disk\\n   is gone")

def breaking():
    yield batches[0]
    raise OSError("the disk is gone")

def wants(path):
    return batches
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a file of loaders, and give its path."""
    (tmp_path / "loaders.py").write_text(LOADERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "loaders", raising=False)
    return tmp_path


def pictures(folder: Path, colours: range) -> None:
    """Write one image for each grey; the red channel tells which."""
    image = pytest.importorskip("PIL.Image")
    folder.mkdir(parents=True)
    for value in colours:
        image.new("L", (8, 8), value).save(folder / f"{value:03}.png")


def load(source: str, batch_size: int = 4, model: nn.Module | None = None) -> Data:
    return load_data(source, model or Net(), batch_size, SMALL)


def reds(pixels: Tensor) -> list[int]:
    """Return which greys the images of a batch have."""
    values = pixels[:, 0, 0, 0] * SMALL.std[0] + SMALL.mean[0]
    return (values * 255).round().int().tolist()


def test_images_are_all_read_in_an_order_of_chance_that_is_always_the_same(folder: Path) -> None:
    pictures(folder / "a", range(10))
    (folder / "a" / "notes.txt").write_text("no image")
    first, again = ([reds(b) for b in load("images:a").batches] for _ in range(2))
    assert first == again
    assert [len(batch) for batch in first] == [4, 4, 2]
    order = [grey for batch in first for grey in batch]
    assert order != sorted(order)
    assert sorted(order) == list(range(10))


def test_a_folder_per_class_gives_mixed_batches_with_their_classes(folder: Path) -> None:
    pictures(folder / "a" / "dark", range(20))
    pictures(folder / "a" / "z-light", range(200, 220))
    pictures(folder / "a" / "grey", range(100, 120))
    data = load("imagefolder:a", batch_size=10)
    batches = list(data.batches)
    assert data.labels is not None
    assert [reds(b[0]) for b in batches] == [reds(b[0]) for b in load(data.source, 10).batches]
    for batch in batches:
        labels = data.labels(batch).tolist()
        assert {0, 2} <= set(labels), "in the order of the names"
        assert labels == [value // 100 for value in reds(data.inputs(batch))]


def test_labels_never_reach_the_model(folder: Path) -> None:
    seen: list[list[str]] = []

    class Greedy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, image: Tensor, *rest: Tensor, **named: Tensor) -> Tensor:
            seen.append([str(tuple(image.shape)), *map(str, rest), *named])
            y: Tensor = self.norm(image)
            return y

    pictures(folder / "a" / "dark", range(3))
    images = np.zeros((3, 3, 8, 8), dtype=np.float32)
    np.savez("named.npz", image=images, labels=np.arange(3))
    np.savez("other.npz", x=images, labels=np.arange(3))
    for source in ("imagefolder:a", "npz:named.npz", "npz:other.npz"):
        data = load(source, model=Greedy())
        for batch in data.batches:
            data.run(Greedy(), batch)
        assert list(load(source, model=Greedy()).calibration(Greedy()))
    assert seen == [["(3, 3, 8, 8)"]] * 6


def test_a_loader_is_a_list_or_a_function_that_returns_one(folder: Path) -> None:
    for source in ("loaders.py:batches", "loaders:batches"):
        assert [float(b.mean()) for b in load(source).batches] == [0, 1, 2]
    data = load("loaders.py:loader")
    assert [labels.tolist() for _, labels in data.batches] == [[0, 1], [2, 3]]
    assert data.labels is None, "nothing is known of a batch that the user made"


def test_statistics_over_a_source_are_those_over_its_batches(folder: Path) -> None:
    pictures(folder / "a" / "dark", range(0, 100, 10))
    pictures(folder / "a" / "light", range(100, 200, 10))
    data, batches = load("imagefolder:a"), [b[0] for b in load("imagefolder:a").batches]
    fed, given, straight = (trained(Net()) for _ in range(3))
    for model in (given, straight):
        model.load_state_dict(fed.state_dict())
    bnc.recompute_statistics(fed, data.batches, forward=data.run)
    bnc.recompute_statistics(given, load("imagefolder:a").calibration(given))
    bnc.recompute_statistics(straight, batches)
    for model in (fed, given):
        assert torch.equal(
            model.get_buffer("norm.running_mean"), straight.get_buffer("norm.running_mean")
        )
        assert torch.equal(
            model.get_buffer("norm.running_var"), straight.get_buffer("norm.running_var")
        )


def test_the_first_batches_are_read_until_there_are_enough_samples(folder: Path) -> None:
    assert [float(b.mean()) for b in load("loaders.py:batches").first(3)] == [0, 1]
    assert len(list(load("loaders.py:batches").first(None))) == 3


def test_a_loader_that_never_ends_is_read_only_where_samples_are_counted(folder: Path) -> None:
    with pytest.raises(LoadError, match=r"never ends \(itertools.cycle\); let it return"):
        load("loaders.py:endless")
    images = ImagePreprocessing.of(Net())
    data = load_data("loaders.py:endless", Net(), 4, images, 5)
    assert len(list(data.first(5))) == 3


def test_a_model_that_does_not_take_the_data_is_said_in_a_sentence(folder: Path) -> None:
    message = (
        r"--data loaders.py:batches: on a batch of \(2, 3, 8, 8\) the model raised RuntimeError: "
        ".*expected input.* to have 5 channels.*; give what its forward takes"
    )
    model = nn.Sequential(nn.Conv2d(5, 8, 1), nn.BatchNorm2d(8))
    data = load("loaders.py:batches")
    with pytest.raises(LoadError, match=message):
        bnc.recompute_statistics(model, data.batches, forward=data.run)
    with pytest.raises(LoadError, match=message):
        next(load("loaders.py:batches").calibration(model))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("random", "random numbers do not have the statistics of your data; give"),
        ("random:1,3,8,8", "random numbers do not have the statistics"),
        ("images", "--data images: is not a source of data; give images:DIR, imagefolder:DIR"),
        ("images:none", "none: there is no such folder; give one with images"),
        ("images:classes", "classes: holds no image; .* give imagefolder:classes"),
        ("imagefolder:none", "none: there is no such folder; give one with a folder per class"),
        ("imagefolder:classes/a", "classes/a: has no folders of images; .* images:classes/a"),
        ("npz:none.npz", "none.npz: there is no such file"),
        ("none.py:loader", "none.py: there is no such file"),
        ("loaders.py:none", "loaders.py: has no function none"),
        ("loaders.py:number", "gives a int; let it return an iterable of batches"),
        ("loaders.py:tensor", "gives a Tensor; let it return an iterable of batches"),
        (
            "loaders.py:broken",
            "raised RuntimeError: the disk is gone .*; it must run without",
        ),
        (
            "loaders.py:wants",
            "raised TypeError: wants.. missing 1 .*; it must run without",
        ),
    ],
)
def test_what_is_no_data_is_refused_with_a_next_step(
    folder: Path, source: str, message: str
) -> None:
    (folder / "classes" / "a").mkdir(parents=True)
    (folder / "classes" / "a" / "a.png").touch()
    with pytest.raises(LoadError, match=message):
        load(source)


def test_a_loader_that_breaks_in_the_middle_changes_nothing(folder: Path) -> None:
    model = trained(Net())
    before = model.get_buffer("norm.running_mean").clone()
    data = load("loaders.py:breaking")
    with pytest.raises(
        LoadError,
        match=r"raised OSError: the disk is gone \(loaders.py, line 20: .*; fix the loader",
    ):
        bnc.recompute_statistics(model, data.batches, forward=data.run)
    assert torch.equal(model.get_buffer("norm.running_mean"), before)


def test_data_are_read_when_they_are_needed_and_not_before(folder: Path) -> None:
    pictures(folder / "a", range(3))
    (folder / "a" / "broken.png").write_text("no image")
    batches: Iterator[Tensor] = iter(load("images:a", batch_size=1).batches)
    with pytest.raises(LoadError, match=r"broken.png: is not a readable image"):
        list(batches)


def test_how_images_are_read_matters_only_where_they_are(folder: Path) -> None:
    unsaid = dict.fromkeys(("img_size", "crop_pct", "interpolation", "mean", "std"))
    wide = (torch.zeros(1, 3, 16, 32),)
    choice, net = ModelChoice("net.py:factory"), nn.Conv2d(3, 2, 1)
    for source in ("data.py:loader", "npz:x.npz"):
        preprocessing_of(choice, net, wide, unsaid, source)
    for source in ("images:.", "imagefolder:."):
        with pytest.raises(LoadError, match="the model expects 16 x 32 pixels"):
            preprocessing_of(choice, net, wide, unsaid, source)

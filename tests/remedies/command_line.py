"""Rows for what the command line reads: models, weights, inputs, data, images, scores."""

import contextlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from bnconvert.cli.data import load_data
from bnconvert.cli.images import ImagePreprocessing, open_image
from bnconvert.cli.model_source import load_model, require_example
from bnconvert.cli.scores import loss_of
from bnconvert.cli.user_code import load_object
from bnconvert.cli.values import output_path, plot_path
from tests.remedies.row import Row

CODE = """
import torch
from torch import nn

def model(): return nn.Conv2d(3, 2, 1)
def with_inputs(): return nn.Conv2d(3, 2, 1), (torch.ones(1, 3, 4, 4),)
def needs(arguments): return nn.Conv2d(3, 2, 1)
def number(): return 3
constant = 3
def loader(): return [torch.ones(2, 3, 4, 4)]
def tensor(): return torch.ones(2, 3, 4, 4)
def wide(): return [torch.ones(2, 5, 4, 4)]
def loss(output, batch): return output.square().mean()
def words(output, batch): return "good"
def broken():
    yield torch.ones(2, 3, 4, 4)
    raise OSError("the disk is gone")
"""


def code(folder: Path, name: str) -> str:
    """Return how a function in a file of the user is named."""
    path = folder / f"user_{folder.name}.py"
    path.write_text(CODE)
    return f"{path}:{name}"


def model(folder: Path, name: str, *inputs: str, weights: str | None = None) -> Any:
    return load_model(code(folder, name), weights and folder / weights, inputs or None)  # type: ignore[arg-type]


def file(folder: Path, text: str) -> str:
    path = folder / "module.py"
    path.write_text(text)
    return str(path)


def in_folder(folder: Path, name: str, text: str) -> None:
    """Import a module by its name from the folder."""
    (folder / f"{name}.py").write_text(text)
    before = [*sys.path]
    with contextlib.chdir(folder):
        load_object(f"{name}:model")
    sys.path[:] = before


def weights(folder: Path, state: Any) -> Any:
    """Save something, and load it as weights."""
    torch.save(state, folder / "weights.pt")
    return model(folder, "model", weights="weights.pt")


def broken_weights(folder: Path) -> None:
    (folder / "weights.pt").write_bytes(b"PK\3\4 no more")
    model(folder, "model", weights="weights.pt")


def state() -> dict[str, Any]:
    return nn.Conv2d(3, 2, 1).state_dict()


def data(folder: Path, source: str, network: nn.Module | None = None) -> list[Any]:
    """Read all batches, and run the model on each."""
    network = network or nn.Conv2d(3, 2, 1)
    loaded = load_data(source, network, 4, ImagePreprocessing())
    for batch in loaded.batches:
        loaded.run(network, batch)
    return []


def npz(folder: Path, **arrays: Any) -> list[Any]:
    np.savez(folder / "data.npz", **arrays)
    return data(folder, f"npz:{folder / 'data.npz'}", TwoInputs())


class TwoInputs(nn.Module):
    """Takes inputs by name."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


def picture(folder: Path, inside: str = "") -> Path:
    place = folder / "pictures" / inside
    place.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (300, 300)).save(place / "a.png")
    return folder / "pictures"


def spoilt(folder: Path, removed: bool) -> None:
    """Read a folder with a broken picture, or remove that first."""
    place = picture(folder)
    bad = place / "b.png"
    bad.write_bytes(b"no picture")
    if removed:
        bad.unlink()
    data(folder, f"images:{place}")


def deep(folder: Path) -> Path:
    path = folder / "deep.tiff"
    Image.fromarray(np.zeros((300, 300), dtype=np.int32)).save(path)
    return path


def made(folder: Path) -> Path:
    """Make a folder."""
    folder.mkdir()
    return folder


def score(folder: Path, name: str) -> None:
    loss = loss_of(code(folder, name), None)
    assert loss is not None
    loss(torch.ones(2), None)


ROWS = np.ones((4, 3), dtype=np.float32)
COMMAND_LINE = (
    Row(
        "cli/model_source.py",
        "is not a MODEL",
        lambda _: load_model("resnet18", None, None),
        lambda folder: model(folder, "model"),
    ),
    Row(
        "cli/model_source.py",
        "no example inputs",
        lambda folder: require_example(model(folder, "model")[1]),
        lambda folder: (
            require_example(model(folder, "model", "1,3,224,224")[1]),
            require_example(model(folder, "with_inputs")[1]),
        ),
    ),
    Row(
        "cli/model_source.py",
        "name one that returns the model",
        lambda folder: model(folder, "constant"),
        lambda folder: model(folder, "model"),
    ),
    Row(
        "cli/model_source.py",
        "it must run without arguments",
        lambda folder: model(folder, "needs"),
        lambda folder: model(folder, "model"),
    ),
    Row(
        "cli/model_source.py",
        "returned a",
        lambda folder: model(folder, "number"),
        lambda folder: (model(folder, "model"), model(folder, "with_inputs")),
    ),
    Row(
        "cli/model_source.py",
        "torchvision.models.list_models()",
        lambda _: load_model("torchvision:resnet_18", None, None),
        lambda _: load_model("torchvision:resnet18", None, None),
        slow=True,
    ),
    Row(
        "cli/model_source.py",
        "give a state_dict",
        lambda folder: model(folder, "model", weights="weights.pt"),
        lambda folder: weights(folder, state()),
    ),
    Row(
        "cli/model_source.py",
        "holds a {}",
        lambda folder: weights(folder, [1, 2]),
        lambda folder: weights(folder, state()),
    ),
    Row(
        "cli/model_source.py",
        "holds a pickled object",
        lambda folder: weights(folder, nn.Conv2d(3, 2, 1)),
        lambda folder: weights(folder, state()),
    ),
    Row(
        "cli/model_source.py",
        "save it again",
        broken_weights,
        lambda folder: weights(folder, state()),
    ),
    Row(
        "cli/model_source.py",
        "name one of these",
        lambda folder: model(folder, "model", "x:1,3,4,4"),
        lambda folder: model(folder, "model", "input:1,3,4,4"),
    ),
    Row(
        "cli/model_source.py",
        "is not a shape",
        lambda folder: model(folder, "model", "3xN"),
        lambda folder: model(folder, "model", "1,3,224,224"),
    ),
    Row(
        "cli/user_code.py",
        "has no function",
        lambda folder: load_object(code(folder, "missing")),
        lambda folder: load_object(code(folder, "model")),
    ),
    Row(
        "cli/user_code.py",
        "give a path from here",
        lambda folder: load_object(str(folder / "none.py:model")),
        lambda folder: load_object(code(folder, "model")),
    ),
    Row(
        "cli/user_code.py",
        "give file.py:factory",
        lambda _: load_object("no_such_package:model"),
        lambda folder: load_object(code(folder, "model")),
    ),
    Row(
        "cli/user_code.py",
        "fix the module",
        lambda folder: in_folder(folder, "broken_one", "1 / 0"),
        lambda folder: in_folder(folder, "mended_one", "model = 1"),
    ),
    Row(
        "cli/user_code.py",
        "fix the file",
        lambda folder: load_object(f"{file(folder, '1 / 0')}:model"),
        lambda folder: load_object(f"{file(folder, 'model = 1')}:model"),
    ),
    Row(
        "cli/data.py",
        "random numbers",
        lambda folder: data(folder, "random:4"),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/data.py",
        "is not a source of data",
        lambda folder: data(folder, "folder"),
        lambda folder: data(folder, f"images:{picture(folder)}"),
    ),
    Row(
        "cli/data.py",
        "let it return an iterable",
        lambda folder: data(folder, code(folder, "tensor")),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/data.py",
        "it must run without arguments",
        lambda folder: data(folder, code(folder, "needs")),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/data.py",
        "fix the loader",
        lambda folder: data(folder, code(folder, "broken")),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/data.py",
        "give what its forward takes",
        lambda folder: data(folder, code(folder, "wide")),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/data.py",
        "give one with images",
        lambda folder: data(folder, f"images:{folder / 'none'}"),
        lambda folder: data(folder, f"images:{picture(folder)}"),
    ),
    Row(
        "cli/data.py",
        "give imagefolder:",
        lambda folder: data(folder, f"images:{picture(folder, 'cats')}"),
        lambda folder: data(folder, f"imagefolder:{picture(folder, 'cats')}"),
    ),
    Row(
        "cli/data.py",
        "give one with a folder per class",
        lambda folder: data(folder, f"imagefolder:{folder / 'none'}"),
        lambda folder: data(folder, f"imagefolder:{picture(folder, 'cats')}"),
    ),
    Row(
        "cli/data.py",
        "for a flat one, give images:",
        lambda folder: data(folder, f"imagefolder:{picture(folder)}"),
        lambda folder: data(folder, f"images:{picture(folder)}"),
    ),
    Row(
        "cli/images.py",
        "crop_pct",
        lambda _: ImagePreprocessing(crop_pct=2),
        lambda _: ImagePreprocessing(crop_pct=1),
    ),
    Row(
        "cli/images.py",
        "interpolation",
        lambda _: ImagePreprocessing(interpolation="spline"),
        lambda _: ImagePreprocessing(interpolation="bicubic"),
    ),
    Row(
        "cli/images.py",
        "crop_mode",
        lambda _: ImagePreprocessing(crop_mode="tiles"),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/images.py",
        "std: is",
        lambda _: ImagePreprocessing(std=(0, 1, 1)),
        lambda _: ImagePreprocessing(std=(0.2, 1, 1)),
    ),
    Row(
        "cli/images.py",
        "remove it",
        lambda folder: spoilt(folder, removed=False),
        lambda folder: spoilt(folder, removed=True),
    ),
    Row(
        "cli/images.py",
        "more than 8 bits",
        lambda folder: open_image(deep(folder)),
        lambda folder: data(folder, code(folder, "loader")),
    ),
    Row(
        "cli/npz.py",
        "there is no such file",
        lambda folder: data(folder, f"npz:{folder / 'none.npz'}"),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/npz.py",
        "is not an .npz file",
        lambda folder: data(folder, f"npz:{file(folder, 'text')}"),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/npz.py",
        "arrays of the same length",
        lambda folder: npz(folder, x=ROWS, y=ROWS[:2]),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/npz.py",
        "name the arrays so",
        lambda folder: npz(folder, a=ROWS, b=ROWS),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/npz.py",
        "save numbers with numpy.savez",
        lambda folder: npz(folder, x=ROWS, y=np.array([None] * 4)),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/npz.py",
        "leave it out",
        lambda folder: npz(folder, x=ROWS, y=ROWS, z=np.array(["a"] * 4)),
        lambda folder: npz(folder, x=ROWS, y=ROWS),
    ),
    Row(
        "cli/scores.py",
        "name one that takes",
        lambda folder: score(folder, "constant"),
        lambda folder: score(folder, "loss"),
    ),
    Row(
        "cli/scores.py",
        "for an output of class",
        lambda folder: score(folder, "words"),
        lambda folder: score(folder, "loss"),
    ),
    Row(
        "cli/values.py",
        "there is no folder",
        lambda folder: output_path(folder / "new" / "file"),
        lambda folder: output_path(made(folder / "new") / "file"),
    ),
    Row(
        "cli/values.py",
        "is not a format",
        lambda folder: plot_path(folder / "a.xyz"),
        lambda folder: plot_path(folder / "a.png"),
    ),
    Row(
        "cli/options.py",
        "MEAN/STD",
        lambda _: _mean_and_std("127", "127"),
        lambda _: (
            _mean_and_std("127/128", "127/128"),
            _mean_and_std("0.5,0.5,0.5/0.25,0.25,0.25", "0.5,0.5,0.5/0.25,0.25,0.25"),
        ),
    ),
)

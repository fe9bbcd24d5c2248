"""Rows for the checkpoints of --weights: files, sets of weights, shards, arrays."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from bnconvert.cli.checkpoints import load_checkpoint
from tests.remedies.command_line import model
from tests.remedies.row import Row

FILE, SETS = "cli/checkpoints/checkpoint_file.py", "cli/checkpoints/weight_sets.py"
SHARDS = "cli/checkpoints/shards.py"


def weights(folder: Path, state: Any, name: str = "model", **more: Any) -> Any:
    """Save something, and load it as weights."""
    torch.save(state, folder / "weights.pt")
    return model(folder, name, weights="weights.pt", **more)


def written(folder: Path, content: bytes) -> Any:
    """Write something, and load it as weights."""
    (folder / "weights.pt").write_bytes(content)
    return model(folder, "model", weights="weights.pt")


def shards(folder: Path, spoil: Callable[[Path], object] = lambda folder: None) -> Any:
    """Save weights in two files and their index, change something, and load the folder."""
    place = folder / "weights"
    place.mkdir(exist_ok=True)
    values = state()
    save_file({"weight": values["weight"]}, place / "first.safetensors")
    save_file({"bias": values["bias"]}, place / "second.safetensors")
    with_index(place)
    spoil(place)
    index = place / "model.safetensors.index.json"
    return model(folder, "model", weights=str(index if index.exists() else place))


def with_index(folder: Path, bias: str = "second.safetensors", weight_map: Any = None) -> None:
    places = weight_map or {"weight": "first.safetensors", "bias": bias}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def with_key_twice(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    bias = '"bias": "second.safetensors"'
    index.write_text(index.read_text().replace(bias, f"{bias}, {bias}"))


def pickled_shard(folder: Path) -> None:
    torch.save(torch.zeros(2), folder / "second.pt")
    with_index(folder, bias="second.pt")


def with_two_indices(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    for name in ("a", "b"):
        (folder / f"{name}.safetensors.index.json").write_bytes(index.read_bytes())
    index.unlink()


class OfArrays(nn.Linear):
    """A layer that knows the names of NumPy's arrays, as timm's vision transformers do."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__(1, 1, bias=bias)

    def load_pretrained(self, path: str) -> None:
        with torch.no_grad(), np.load(path) as held:
            self.weight.fill_(float(held["weight"]))
            if self.bias is not None and "bias" in held:
                self.bias.fill_(float(held["bias"]))


def arrays(folder: Path, module: nn.Module, **values: Any) -> object:
    np.savez(folder / "weights.npz", **values)
    return load_checkpoint(module, folder / "weights.npz")


def state(classes: int = 2) -> dict[str, Any]:
    return nn.Conv2d(3, classes, 1).state_dict()


def module_of(path: Path) -> Any:
    """Do as the message says of a file that one trusts."""
    return torch.load(path, weights_only=False).state_dict()


SPOILT: dict[str, Callable[[Path], object]] = {
    "is a folder without": lambda folder: (folder / "model.safetensors.index.json").unlink(),
    "its shard": lambda folder: (folder / "second.safetensors").unlink(),
    "which is not in its folder": partial(with_index, bias="../x.safetensors"),
    "holds other keys than": partial(with_index, bias="first.safetensors"),
    "is no index of shards": partial(with_index, weight_map=3),
    "twice; ": with_key_twice,
}
CHECKPOINTS = (
    Row(
        FILE,
        "there is no such file",
        lambda folder: model(folder, "model", weights="weights.pt"),
        lambda folder: weights(folder, state()),
    ),
    Row(
        FILE,
        "is a Git LFS pointer",
        lambda folder: written(folder, b"version https://git-lfs.github.com/spec/v1"),
        lambda folder: weights(folder, state()),  # what it fetches
    ),
    Row(
        FILE,
        "is a web page",
        lambda folder: written(folder, b"<html>"),
        lambda folder: weights(folder, state()),
    ),
    Row(
        FILE,
        "is no file that torch.save has written",
        lambda folder: written(folder, b"weights"),
        lambda folder: weights(folder, state()),
    ),
    Row(
        FILE,
        "would run code from the file",
        lambda folder: weights(folder, {"state_dict": state(), "odd": print, "path": os.mkdir}),
        lambda folder: weights(folder, state()),
    ),
    Row(
        FILE,
        "save it again",
        lambda folder: written(folder, b"PK\3\4 no more"),
        lambda folder: weights(folder, state()),
    ),
    Row(
        SETS,
        "holds several sets of weights",
        lambda folder: weights(folder, {"a": state(), "b": state()}),
        lambda folder: weights(folder, torch.load(folder / "weights.pt", weights_only=True)["a"]),
    ),
    Row(
        SETS,
        "of averaged weights",
        lambda folder: weights(folder, state(), ema=True),
        lambda folder: weights(folder, state()),
    ),
    Row(
        SETS,
        "holds a {}; {}",
        lambda folder: weights(folder, [1, 2]),
        lambda folder: weights(folder, state()),
    ),
    Row(
        SETS,
        "which is no name",
        lambda folder: weights(folder, {1: torch.ones(1)}),
        lambda folder: weights(folder, state()),
    ),
    Row(
        SETS,
        "holds no weights by name",
        lambda folder: weights(folder, {"epoch": 3}),
        lambda folder: weights(folder, state()),
    ),
    Row(
        SETS,
        "if you trust the file",
        lambda folder: weights(folder, nn.Conv2d(3, 2, 1)),
        lambda folder: weights(folder, module_of(folder / "weights.pt")),
    ),
    *(Row(SHARDS, part, partial(shards, spoil=spoil), shards) for part, spoil in SPOILT.items()),
    Row(
        SHARDS,
        "holds several indices of shards",
        lambda folder: shards(folder, spoil=with_two_indices),
        lambda folder: model(
            folder, "model", weights=str(folder / "weights" / "a.safetensors.index.json")
        ),
    ),
    Row(
        SHARDS,
        "and no weights",
        lambda folder: shards(folder, spoil=pickled_shard),
        shards,
    ),
    Row(
        "cli/checkpoints/numpy_weights.py",
        "cannot load; give a file of",
        lambda folder: arrays(folder, nn.Conv2d(3, 2, 1)),
        lambda folder: weights(folder, state()),
    ),
    Row(
        "cli/checkpoints/numpy_weights.py",
        "the model does not load it",
        lambda folder: arrays(folder, OfArrays(), other=1.0),
        lambda folder: arrays(folder, OfArrays(), weight=1.0, bias=0.0),
    ),
    Row(
        "cli/checkpoints/numpy_weights.py",
        "fills all but",
        lambda folder: arrays(folder, OfArrays(), weight=1.0),
        lambda folder: arrays(folder, OfArrays(bias=False), weight=1.0),
    ),
    Row(
        "cli/checkpoints/__init__.py",
        "does not fit the model",
        lambda folder: weights(folder, state(10), "classes"),
        lambda folder: weights(folder, state(10), "classes", arguments=["num_classes=10"]),
    ),
)

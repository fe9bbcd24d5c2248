"""Rows for the checkpoints of --weights: files, sets of weights, shards, arrays."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bnconvert.cli.checkpoints import load_checkpoint
from tests.remedies.command_line import model
from tests.remedies.row import Row
from tests.remedies.shards import SHARDS, state

FILE, SETS = "cli/checkpoints/checkpoint_file.py", "cli/checkpoints/weight_sets.py"


def weights(folder: Path, state: Any, name: str = "model", **more: Any) -> Any:
    """Save something, and load it as weights."""
    torch.save(state, folder / "weights.pt")
    return model(folder, name, weights="weights.pt", **more)


def written(folder: Path, content: bytes) -> Any:
    """Write something, and load it as weights."""
    (folder / "weights.pt").write_bytes(content)
    return model(folder, "model", weights="weights.pt")


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


def module_of(path: Path) -> Any:
    """Do as the message says of a file that one trusts."""
    return torch.load(path, weights_only=False).state_dict()


def scripted(folder: Path) -> Any:
    """Give a TorchScript program in place of weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Conv2d(3, 2, 1)).save(folder / "program.pt")
    return model(folder, "model", weights="program.pt")


def exported(folder: Path) -> Any:
    """Give a program of torch.export in place of weights."""
    layer = nn.Conv2d(3, 2, 1)
    torch.export.save(torch.export.export(layer, (torch.ones(1, 3, 2, 2),)), folder / "program.pt2")
    return model(folder, "model", weights="program.pt2")


def tensors_of(path: Path) -> Any:
    """Do as the message says of a file of pickled arrays that one trusts."""
    held = torch.load(path, weights_only=False)
    return {key: torch.from_numpy(value) for key, value in held.items()}


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
        "is empty",
        lambda folder: written(folder, b""),
        lambda folder: weights(folder, state()),
    ),
    Row(
        FILE,
        "is a TorchScript program",
        scripted,
        lambda folder: weights(folder, torch.jit.load(folder / "program.pt").state_dict()),
    ),
    Row(
        FILE,
        "is a program of torch.export",
        exported,
        lambda folder: weights(folder, dict(torch.export.load(folder / "program.pt2").state_dict)),
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
    Row(
        SETS,
        "holds pickled NumPy arrays",
        lambda folder: weights(folder, {key: value.numpy() for key, value in state().items()}),
        lambda folder: weights(folder, tensors_of(folder / "weights.pt")),
    ),
    *SHARDS,
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

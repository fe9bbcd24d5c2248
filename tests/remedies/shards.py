"""Rows for weights in several files, and the index of these."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from tests.remedies.command_line import model
from tests.remedies.row import Row

HERE = "cli/checkpoints/shards.py"


def state(classes: int = 2) -> dict[str, Any]:
    return nn.Conv2d(3, classes, 1).state_dict()


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


_SPOILT: dict[str, Callable[[Path], object]] = {
    "is a folder without": lambda folder: (folder / "model.safetensors.index.json").unlink(),
    "its shard": lambda folder: (folder / "second.safetensors").unlink(),
    "which is not in its folder": partial(with_index, bias="../x.safetensors"),
    "holds other keys than": partial(with_index, bias="first.safetensors"),
    "is no index of shards": partial(with_index, weight_map=3),
    "twice; ": with_key_twice,
}
SHARDS = (
    *(Row(HERE, part, partial(shards, spoil=spoil), shards) for part, spoil in _SPOILT.items()),
    Row(
        HERE,
        "holds several indices of shards",
        lambda folder: shards(folder, spoil=with_two_indices),
        lambda folder: model(
            folder, "model", weights=str(folder / "weights" / "a.safetensors.index.json")
        ),
    ),
    Row(
        HERE,
        "and no weights",
        lambda folder: shards(folder, spoil=pickled_shard),
        shards,
    ),
)

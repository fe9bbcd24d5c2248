"""A checkpoint in several files, as Hugging Face writes large ones: an index, and its shards."""

import json
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from bnconvert.cli.checkpoints.checkpoint_file import read_checkpoint, require_file_itself
from bnconvert.errors import LoadError, first_line
from bnconvert.reporting.table import listed

_INDEX = ".index.json"
_SHARD = re.compile(r"-\d+-of-\d+\.\w+$")
#: What a folder of Hugging Face's holds, in the order in which its own libraries look.
_NAMES = ("model.safetensors", f"model.safetensors{_INDEX}", "pytorch_model.bin",
          f"pytorch_model.bin{_INDEX}", f"diffusion_pytorch_model.safetensors{_INDEX}",
          "diffusion_pytorch_model.safetensors")  # fmt: skip
_AGAIN = "download the folder again, or save the model again"


def read_weights(path: Path) -> Any:
    """Return what a checkpoint holds: a file, an index with its shards, or a folder of these.

    Raises:
        LoadError: there is none, a shard is missing, or index and shards hold other keys.
    """
    if path.is_dir():
        path = _file_in(path)
    return _joined(path) if path.name.endswith(_INDEX) else read_checkpoint(path)


def remedy_of_shard(path: Path) -> str:
    """Return what to give in place of one shard of several; "" where a file is none."""
    if not _SHARD.search(path.name):
        return ""
    return f"it is one shard of several: give the folder, --weights {path.parent}"


def _file_in(folder: Path) -> Path:
    """Return the checkpoint in a folder: by its usual name, else the only index."""
    there = [folder / name for name in _NAMES if (folder / name).is_file()]
    there = there or sorted(folder.glob(f"*{_INDEX}"))
    if not there:
        raise LoadError(
            f"{folder}: is a folder without {_NAMES[0]} or {_NAMES[1]}; give the checkpoint in it"
        )
    if len(there) > 1 and there[0].name not in _NAMES:
        names = ", ".join(index.name for index in there)
        raise LoadError(
            f"{folder}: holds several indices of shards ({names}); give the one that you mean as "
            "the path"
        )
    return there[0]


def _joined(index: Path) -> dict[str, Any]:
    """Return the tensors of all shards, each from the shard that the index names for it."""
    places = _weight_map(index)
    found: dict[str, Any] = {}
    for name in dict.fromkeys(places.values()):
        if Path(name).name != name:
            raise LoadError(f"{index}: names {name}, which is not in its folder; {_AGAIN}")
        shard = index.parent / name
        if not shard.is_file():
            raise LoadError(f"{index}: its shard {name} is missing; {_AGAIN}")
        held = read_checkpoint(shard)
        if not isinstance(held, dict):
            raise LoadError(f"{shard}: holds a {type(held).__name__}, and no weights; {_AGAIN}")
        wanted = {key for key, place in places.items() if place == name}
        if differing := sorted(map(str, wanted ^ held.keys())):
            raise LoadError(
                f"{shard}: holds other keys than {index.name} says ({listed(differing[:3])}); "
                f"{_AGAIN}"
            )
        found |= held
    return {key: found[key] for key in places}


def _weight_map(index: Path) -> dict[str, str]:
    """Return which shard holds each key."""
    require_file_itself(index)
    try:
        places = json.loads(index.read_text(), object_pairs_hook=partial(_once, index))[
            "weight_map"
        ]
        return {str(key): str(shard) for key, shard in places.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as failure:
        raise LoadError(
            f"{index}: is no index of shards ({first_line(failure)}); {_AGAIN}"
        ) from None


def _once(index: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of an index, in which a name that is there twice has no one meaning."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        raise LoadError(f"{index}: names {listed(twice[:3])} twice; {_AGAIN}")
    return found

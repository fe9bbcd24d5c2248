"""Checkpoints in shards, as Hugging Face's own library writes them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bnconvert.cli.checkpoints import load_checkpoint
from bnconvert.errors import LoadError
from tests.cli.checkpoints.test_checkpoints import network, same

hub = pytest.importorskip("huggingface_hub")


def saved(model: nn.Module, folder: Path, *, safe: bool) -> Path:
    """Save a model in several shards; return their index."""
    folder.mkdir(exist_ok=True)
    hub.save_torch_model(model, folder, max_shard_size=300, safe_serialization=safe)
    name = "model.safetensors" if safe else "pytorch_model.bin"
    assert len(list(folder.glob("*-of-*"))) > 1
    return folder / f"{name}.index.json"


@pytest.mark.parametrize("safe", [True, False])
def test_shards_are_read_by_their_index_or_their_folder(tmp_path: Path, safe: bool) -> None:
    original = network()
    index = saved(original, tmp_path, safe=safe)
    for path in (index, tmp_path):
        model = network(seed=1)
        assert load_checkpoint(model, path) == ()
        assert same(model, original)


def test_one_shard_by_itself_is_refused_with_the_folder_to_give(tmp_path: Path) -> None:
    saved(network(), tmp_path, safe=True)
    with pytest.raises(LoadError, match="it is one shard of several: give the folder") as failure:
        load_checkpoint(network(seed=1), min(tmp_path.glob("*-of-*")))
    assert str(failure.value).endswith(f"--weights {tmp_path}")


@pytest.mark.parametrize("size", ["10GB", 300])
def test_what_the_folder_holds_is_chosen_as_hugging_face_does(tmp_path: Path, size: Any) -> None:
    hub.save_torch_model(network(seed=3), tmp_path, safe_serialization=False)
    hub.save_torch_model(network(seed=4), tmp_path, max_shard_size=size)
    (tmp_path / "config.json").write_text("{}")
    model = network(seed=1)
    load_checkpoint(model, tmp_path)
    assert same(model, network(seed=4))


def test_weights_that_a_model_has_twice_are_stored_once(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        layers = nn.ModuleDict({"embed": nn.Linear(8, 8, bias=False), "norm": nn.BatchNorm1d(8)})
        layers["head"] = nn.Linear(8, 8)
        layers["head"].weight = layers["embed"].weight
        return layers

    original = tied()
    saved(original, tmp_path, safe=True)
    model = tied()
    said = load_checkpoint(model, tmp_path)
    assert same(model, original)
    assert len(said) == 1
    assert said[0].endswith("in the model: taken from there")


def without_a_shard(index: Path) -> None:
    next(index.parent.glob("*-of-*")).unlink()


def with_another(index: Path, shard: str) -> None:
    content = json.loads(index.read_text())
    content["weight_map"]["0.weight"] = shard
    index.write_text(json.dumps(content))


def with_keys_that_are_numbers(index: Path) -> None:
    shard = index.parent / json.loads(index.read_text())["weight_map"]["0.weight"]
    held: dict[Any, Any] = {**load_file(shard), 0: torch.ones(1), 1: torch.ones(1)}
    torch.save(held, shard.with_suffix(".bin"))
    index.write_text(index.read_text().replace(shard.name, shard.with_suffix(".bin").name))


def test_of_several_indices_with_names_of_their_own_none_is_taken(tmp_path: Path) -> None:
    indices = []
    for number, name in enumerate(("averaged", "weights")):
        index = saved(network(seed=number), tmp_path / name, safe=True)
        indices.append(index.rename(index.with_name(f"{name}.safetensors.index.json")))
    for file in indices[0].parent.iterdir():
        content = file.read_bytes().replace(b"model-", b"other-")
        (indices[1].parent / file.name.replace("model-", "other-")).write_bytes(content)
    with pytest.raises(
        LoadError, match=r"several indices of shards \(averaged\.\S+, weights\.\S+\)"
    ):
        load_checkpoint(network(), indices[1].parent)
    model = network(seed=2)
    load_checkpoint(model, indices[1])
    assert same(model, network(seed=1))
    indices[1].rename(indices[1].with_name("model.safetensors.index.json"))
    load_checkpoint(model, indices[1].parent)
    assert same(model, network(seed=1)), "a usual name is taken, whatever else is there"


def test_what_is_wrong_with_shards_is_said(tmp_path: Path) -> None:
    for number, (spoil, message) in enumerate(
        (
            (without_a_shard, "its shard .* is missing; download"),
            (lambda index: with_another(index, "../x"), r"names \.\./x, which is not in its fold"),
            (
                lambda index: with_another(index, sorted(index.parent.glob("*-of-*"))[-1].name),
                "holds other keys than .* says",
            ),
            (lambda index: index.write_text("{}"), "is no index of shards"),
            (lambda index: index.write_text("<html>"), "index.json: is a web page; download"),
            (
                lambda index: index.write_text("version https://git-lfs.github.com/spec/v1"),
                "index.json: is a Git LFS pointer",
            ),
            (with_keys_that_are_numbers, r"holds other keys than .* says \(0, 1\)"),
            (lambda index: index.unlink(), "there is no such file"),
        )
    ):
        index = saved(network(), tmp_path / str(number), safe=True)
        spoil(index)
        with pytest.raises(LoadError, match=message):
            load_checkpoint(network(seed=1), index)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LoadError, match=r"is a folder without model\.safetensors"):
        load_checkpoint(network(), tmp_path / "empty")
    index = saved(network(), tmp_path / "pickled", safe=False)
    shard = next(index.parent.glob("*-of-*"))
    torch.save(torch.zeros(3), shard)
    with pytest.raises(LoadError, match="holds a Tensor, and no weights"):
        load_checkpoint(network(), index)


def test_an_index_that_names_a_key_twice_is_refused(tmp_path: Path) -> None:
    index = saved(network(), tmp_path, safe=True)
    places = json.loads(index.read_text())["weight_map"]
    key, *_, other = places
    twice = f'"{key}": {json.dumps(places[other])}, "{key}": {json.dumps(places[key])}'
    index.write_text(index.read_text().replace(f'"{key}": {json.dumps(places[key])}', twice))
    with pytest.raises(LoadError, match=rf"index\.json: names {key} twice; download the"):
        load_checkpoint(network(seed=1), tmp_path)

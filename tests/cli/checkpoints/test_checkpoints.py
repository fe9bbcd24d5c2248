"""Checkpoints as torch, timm and training loops write them, each by its real writer."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnconvert.cli.checkpoints import load_checkpoint
from bnconvert.errors import LoadError


def network(classes: int = 10, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, classes))


def loaded(path: Path, *, ema: bool = False) -> tuple[nn.Module, tuple[str, ...]]:
    model = network(seed=1)
    return model, load_checkpoint(model, path, ema=ema, classes="num_classes")


def same(first: nn.Module, second: nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_an_averaged_model_says_that_it_is_one(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(network())
    averaged.update_parameters(network(seed=2))
    averaged.update_parameters(network(seed=3))
    torch.save(averaged.state_dict(), tmp_path / "swa.pt")
    model, said = loaded(tmp_path / "swa.pt")
    assert same(model, averaged.module)
    assert said == (
        "averaged weights (of 2 updates)",
        "9 of 10 keys begin with `module.`: stripped",
    )


def test_a_compiled_model_on_several_devices_is_unwrapped(tmp_path: Path) -> None:
    original = network()
    compiled: Any = torch.compile(original)
    wrapped = nn.DataParallel(compiled)
    torch.save({"net": wrapped.state_dict(), "acc": 91.2}, tmp_path / "ckpt.pth")
    model, said = loaded(tmp_path / "ckpt.pth")
    assert same(model, original)
    assert said == ("all 9 keys begin with `module._orig_mod.`: stripped",)


def test_what_timms_training_saves_is_read_with_either_weights(tmp_path: Path) -> None:
    utils = pytest.importorskip("timm.utils")
    original, optimizer = network(), None
    average = utils.ModelEmaV2(original, decay=0.5)
    average.update(network(seed=5))
    optimizer = torch.optim.SGD(original.parameters(), 0.1, momentum=0.9)
    saver = utils.CheckpointSaver(
        original,
        optimizer,
        args=argparse.Namespace(model="resnet18", lr=0.1),
        model_ema=average,
        checkpoint_dir=str(tmp_path),
        recovery_dir=str(tmp_path),
    )
    saver.save_checkpoint(0, metric=70.0)
    model, said = loaded(tmp_path / "last.pth.tar")
    assert same(model, original)
    assert said == (
        "took `state_dict`; `state_dict_ema` holds averaged weights, which --ema takes",
    )
    model, said = loaded(tmp_path / "last.pth.tar", ema=True)
    assert same(model, average.module)
    assert said == ("took `state_dict_ema`, averaged weights",)


def test_a_file_that_does_not_fit_changes_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    torch.save(network(classes=4).state_dict(), tmp_path / "four.pt")
    model, before = network(seed=1), network(seed=1)
    with pytest.raises(LoadError, match=r"3 has 4 outputs in the file, 10 in the model; make .*=4"):
        load_checkpoint(model, tmp_path / "four.pt", classes="num_classes")
    assert same(model, before)


class Tied(nn.Module):
    """Has a second weight, which is the first as `view` sees it."""

    def __init__(self, view: Callable[[Tensor], Tensor], device: str = "cpu") -> None:
        super().__init__()
        self.encoder = nn.Parameter(torch.rand(4, 4, device=device))
        self.decoder = nn.Parameter(view(self.encoder.data))


def test_a_weight_that_is_another_is_taken_from_there_only_if_it_is_read_alike(
    tmp_path: Path,
) -> None:
    weight = torch.arange(16.0).reshape(4, 4)
    torch.save({"encoder": weight}, tmp_path / "tied.pt")
    model = Tied(lambda held: held)
    assert load_checkpoint(model, tmp_path / "tied.pt") == (
        "`decoder` is `encoder` in the model: taken from there",
    )
    assert torch.equal(model.decoder, weight)
    for other in (
        Tied(Tensor.t),
        Tied(lambda held: held[:1].expand(4, 4)),
        Tied(torch.zeros_like, device="meta"),
    ):
        with pytest.raises(LoadError, match=r"it lacks 1 of 2 keys \(decoder\)"):
            load_checkpoint(other, tmp_path / "tied.pt")


def timms_kinds() -> dict[str, Any]:
    """Return, by the name of a file, what timm knows as a checkpoint."""
    plain, ema = network().state_dict(), network(seed=2).state_dict()
    prefixes = ("module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.")
    wrapped = {
        f"{number}.pt": {f"{prefix}{key}": value for key, value in plain.items()}
        for number, prefix in enumerate(prefixes)
    }
    return {
        **wrapped,
        "bare.pth": plain,
        "hub.bin": {"state_dict": wrapped["0.pt"]},
        "model.pth.tar": {"model": plain, "optimizer": {"state": {}, "param_groups": []}},
        "averaged.pth.tar": {
            "epoch": 3,
            "arch": "resnet18",
            "args": argparse.Namespace(lr=0.1),
            "state_dict": wrapped["0.pt"],
            "state_dict_ema": ema,
        },
        "model_ema.pth": {"model": plain, "model_ema": ema, "scaler": {"scale": 1.0}},
        "weights.safetensors": plain,
    }


def test_every_kind_of_checkpoint_that_timm_knows_is_loaded_as_timm_loads_it(
    tmp_path: Path,
) -> None:
    models = pytest.importorskip("timm.models")
    save_file = pytest.importorskip("safetensors.torch").save_file
    for name, content in timms_kinds().items():
        path = tmp_path / name
        (save_file if path.suffix == ".safetensors" else torch.save)(content, path)
        averaged = bool({"state_dict_ema", "model_ema"} & content.keys())
        for ema in {False, averaged}:
            theirs = network(seed=1)
            models.load_checkpoint(theirs, str(path), use_ema=ema)
            assert same(loaded(path, ema=ema)[0], theirs), (name, ema)

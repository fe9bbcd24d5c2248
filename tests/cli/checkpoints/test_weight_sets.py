from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnconvert.cli.checkpoints.checkpoint_file import Unread
from bnconvert.cli.checkpoints.weight_sets import chosen_weights
from bnconvert.errors import LoadError, UsageError

WANTED = nn.Linear(2, 3).state_dict()
PATH = Path("w.ckpt")


def weights(value: float) -> dict[str, Tensor]:
    return {"weight": torch.full((3, 2), value), "bias": torch.full((3,), value)}


def chosen(content: Any, *, ema: bool = False) -> tuple[float, tuple[str, ...]]:
    state, said = chosen_weights(PATH, content, WANTED, ema=ema)
    return float(state["bias"][0]), said


@pytest.mark.parametrize("key", ["state_dict", "net", "model", "model_state_dict", "network"])
def test_one_set_of_weights_is_found_among_the_rest_whatever_its_name(key: str) -> None:
    optimizer = torch.optim.Adam(nn.Linear(2, 3).parameters())
    content = {
        "epoch": 3,
        "best_acc1": torch.tensor(76.0),
        key: weights(1),
        "optimizer": optimizer.state_dict(),
        "callbacks": {"ModelCheckpoint": {"best": {"score": torch.ones(())}}},
        "hyper_parameters": {"class_weights": torch.ones(3)},
    }
    assert chosen(content) == (1.0, ())
    assert chosen({"model": content}) == (1.0, ())


@pytest.mark.parametrize("averaged", ["ema", "model_ema", "state_dict_ema", "params_ema"])
def test_averaged_weights_are_never_taken_in_silence(averaged: str) -> None:
    content = {"model": weights(1), averaged: weights(2)}
    assert chosen(content) == (
        1.0,
        (f"took `model`; `{averaged}` holds averaged weights, which --ema takes",),
    )
    assert chosen(content, ema=True) == (2.0, (f"took `{averaged}`, averaged weights",))
    only = {averaged: weights(2)}
    assert chosen(only) == (2.0, (f"took `{averaged}`: it holds averaged weights only",))
    with pytest.raises(UsageError, match=r"--ema: of averaged weights, w\.ckpt holds none"):
        chosen({"model": weights(1)}, ema=True)


def test_of_several_the_one_that_fits_is_taken_and_named() -> None:
    content = {"generator": weights(1), "discriminator": {"conv.weight": torch.ones(1)}}
    value, said = chosen(content)
    assert value == 1.0
    assert said == (
        "took `generator`, the only one that fits the model; it also holds `discriminator`",
    )
    with pytest.raises(LoadError, match=r"several .*`a` \(2 keys\), `b` \(2 keys\); .*\['a'\]"):
        chosen({"a": weights(1), "b": weights(2)})


def test_lightnings_averaging_is_known_by_what_it_keeps_beside() -> None:
    content = {
        "state_dict": weights(2),
        "current_model_state": weights(1),
        "averaging_state": {"n_averaged": torch.tensor(4)},
    }
    assert chosen(content)[0] == 1.0
    assert chosen(content, ema=True)[0] == 2.0


def test_a_module_in_a_checkpoint_is_refused_with_the_way_out() -> None:
    module = type("Unread", (Unread,), {"name": "ultralytics.nn.tasks.DetectionModel"})()
    with pytest.raises(LoadError) as error:
        chosen({"epoch": -1, "model": module, "ema": None, "train_args": {"imgsz": 640}})
    assert str(error.value) == (
        "w.ckpt: holds a pickled ultralytics.nn.tasks.DetectionModel, and unpickling it would run "
        "code from the file; save its weights where ultralytics is installed, if you trust the "
        "file: torch.save(torch.load('w.ckpt', weights_only=False)['model'].state_dict(), "
        "'weights.pt')"
    )


def test_pickled_arrays_are_refused_with_a_way_to_tensors() -> None:
    array = type("Unread", (Unread,), {"name": "numpy._core.multiarray._reconstruct"})()
    with pytest.raises(LoadError, match=r"holds pickled NumPy arrays.*torch\.from_numpy"):
        chosen({"conv.weight": array})

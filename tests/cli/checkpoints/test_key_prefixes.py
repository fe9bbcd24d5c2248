from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnconvert.cli.checkpoints.key_prefixes import with_keys_of
from bnconvert.errors import LoadError

NETWORK = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
WANTED = NETWORK.state_dict()


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in WANTED.items()}


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "trainer.net.backbone."]
)
def test_what_every_key_begins_with_is_stripped_and_said(prefix: str) -> None:
    state, said = with_keys_of(WANTED, prefixed(prefix))
    assert state.keys() == WANTED.keys()
    assert said == (f"all 7 keys begin with `{prefix}`: stripped",)


def test_keys_that_fit_are_left_alone() -> None:
    assert with_keys_of(WANTED, WANTED) == (dict(WANTED), ())


def test_the_models_own_prefix_is_kept() -> None:
    wrapped = nn.ModuleDict({"module": NETWORK}).state_dict()
    assert with_keys_of(wrapped, wrapped) == (dict(wrapped), ())


def test_what_stands_beside_the_model_is_left_out_and_named() -> None:
    state = prefixed("model.") | {"loss.weight": torch.ones(2), "center": torch.ones(1)}
    found, said = with_keys_of(WANTED, state)
    assert found.keys() == WANTED.keys()
    assert said == (
        "7 of 9 keys begin with `model.`: stripped; left out, because the model has no such "
        "module: loss.weight, center",
    )


def test_an_averaged_model_is_unwrapped() -> None:
    averaged = torch.optim.swa_utils.AveragedModel(NETWORK).state_dict()
    found, said = with_keys_of(WANTED, averaged)
    assert found.keys() == WANTED.keys()
    assert said == ("7 of 8 keys begin with `module.`: stripped",)


def test_a_part_that_was_compiled_is_unwrapped_within_the_keys() -> None:
    first: Any = torch.compile(NETWORK[0])
    compiled = nn.Sequential(first, NETWORK[1]).state_dict()
    assert "0._orig_mod.weight" in compiled
    found, said = with_keys_of(WANTED, compiled)
    assert found.keys() == WANTED.keys()
    assert said == ("`_orig_mod.` taken out of 2 of 7 keys",)


def test_a_prefix_that_explains_only_a_part_strips_nothing() -> None:
    state = {"model.0.weight": torch.ones(4, 3, 1, 1), "other": torch.ones(1)}
    assert with_keys_of(WANTED, state) == (state, ())


def test_two_models_in_one_state_dict_are_not_chosen_from() -> None:
    with pytest.raises(LoadError, match=r"after each of `ema\.`, `student\.`; save the ones"):
        with_keys_of(WANTED, prefixed("student.") | prefixed("ema."))

"""The weights of a network get into what is put around it to deploy it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnconvert.cli.checkpoints import load_checkpoint
from bnconvert.cli.checkpoints.model_part import part_of
from bnconvert.errors import LoadError


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = {"conv": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4)}
    return nn.Sequential(nn.ModuleDict(layers))


class Deployed(nn.Module):
    """A network between a normalization and a temperature, of which a test makes a weight."""

    def __init__(self, *, learned: bool = False) -> None:
        super().__init__()
        self.net = network(seed=1)
        self.register_buffer("mean", torch.tensor(0.5))
        if learned:
            self.temperature = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize("wrap", [lambda m: m, torch.compile, nn.DataParallel])
def test_a_part_is_loaded_where_the_rest_are_constants(tmp_path: Path, wrap: Any) -> None:
    trained, model, path = network(), Deployed(), tmp_path / "w.pt"
    torch.save(wrap(trained).state_dict(), path)
    (said,) = load_checkpoint(model, path)
    assert all(map(torch.equal, model.net.state_dict().values(), trained.state_dict().values()))
    assert model.get_buffer("mean") == 0.5
    assert "of the model's part `net`: loaded there; as the model has them anyway: mean" in said


def test_averaged_weights_are_those_of_a_part_too(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(network())
    torch.save(averaged.state_dict(), tmp_path / "w.pt")
    model = Deployed()
    load_checkpoint(model, tmp_path / "w.pt")
    wanted = averaged.module.state_dict()
    assert all(map(torch.equal, model.net.state_dict().values(), wanted.values()))


def test_a_part_beside_other_weights_is_refused_in_words(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "w.pt")
    with pytest.raises(LoadError) as failure:
        load_checkpoint(Deployed(learned=True), tmp_path / "w.pt")
    assert (
        "it is of the model's part `net`, and has nothing for temperature, mean; load it "
        in str(failure.value)
    )
    assert "model.net.load_state_dict(...)" in str(failure.value)


def test_only_one_part_will_do() -> None:
    one = torch.ones(1)
    state: dict[str, Tensor] = {"conv.weight": one, "conv.bias": one}
    inside = {f"net.{key}": value for key, value in state.items()}
    assert part_of(inside, state) == ("net", "")
    assert part_of(inside, {f"module.{key}": one for key in state}) == ("net", "module.")
    assert part_of(inside | {f"ema.{key}": one for key in state}, state) is None
    assert part_of(inside | {"conv.bias": one}, state) is None
    assert part_of(inside, state | {"other": one}) is None
    assert part_of(inside, {}) is None

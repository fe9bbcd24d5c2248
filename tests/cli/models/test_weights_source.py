"""Weights for a model of the command line: what is read, and what is refused unread."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bnconvert.cli.models.model_source import load_model
from bnconvert.errors import LoadError
from tests.zoo import Net, trained

pytestmark = pytest.mark.usefixtures("factory")


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def test_weights_come_in_every_usual_wrapping() -> None:
    state = trained(Net(), seed=5).state_dict()
    save_file(state, "w.safetensors")
    torch.save(state, "w.pt")
    torch.save({"epoch": 3, "state_dict": state}, "wrapped.pt")
    torch.save({"module." + name: value for name, value in state.items()}, "ddp.pt")
    for name in ("w.safetensors", "w.pt", "wrapped.pt", "ddp.pt"):
        model, _ = load_model("models.py:plain", Path(name), None)
        assert torch.equal(model.get_buffer("norm.running_mean"), state["norm.running_mean"]), name


def test_a_pickled_object_is_refused_and_never_run() -> None:
    torch.save({"state_dict": Bomb()}, "bomb.pt")
    torch.save(Net(), "module.pt")
    for name in ("bomb.pt", "module.pt"):
        with pytest.raises(LoadError, match="would run code from the file; save"):
            load_model("models.py:plain", Path(name), None)
    assert not Path("exploded").exists()


@pytest.mark.parametrize("name", ["short.pt", "zip.pt", "text.safetensors"])
def test_a_broken_file_of_weights_is_refused(name: str) -> None:
    content = {"short.pt": b"\x80", "zip.pt": b"PK\x03\x04", "text.safetensors": b"no tensors"}
    Path(name).write_bytes(content[name])
    with pytest.raises(LoadError, match=rf"{name}: cannot be read \(.*\); save it again"):
        load_model("models.py:plain", Path(name), None)


def test_weights_that_do_not_fit_or_exist_are_refused() -> None:
    torch.save({"other": torch.zeros(1)}, "other.pt")
    torch.save(torch.zeros(1), "tensor.pt")
    for name, message in (
        ("other.pt", "does not fit the model"),
        ("tensor.pt", "holds a Tensor"),
        ("missing.pt", "there is no such file"),
    ):
        with pytest.raises(LoadError, match=message):
            load_model("models.py:plain", Path(name), None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({3: torch.zeros(1)}, "holds the key 3, which is no name"),
        ({"state_dict": {0: torch.zeros(1)}}, "holds the key 0, which is no name"),
        ({("a", "b"): torch.zeros(1)}, "which is no name"),
        ({"conv.weight": "text"}, "holds no weights by name (conv.weight: str)"),
        ({"conv.weight": torch.zeros(1)}, "does not fit the model"),
        ([torch.zeros(1)], "holds a list"),
        (7, "holds a int"),
    ],
)
def test_a_checkpoint_that_is_no_state_dict_is_refused(content: object, said: str) -> None:
    torch.save(content, "odd.pt")
    with pytest.raises(LoadError) as error:
        load_model("models.py:plain", Path("odd.pt"), None)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_safetensors_that_are_cut_off_or_promise_too_much_are_refused() -> None:
    save_file(trained(Net()).state_dict(), "w.safetensors")
    whole = Path("w.safetensors").read_bytes()
    for name, content in (
        ("cut", whole[: len(whole) // 2]),
        ("huge_header", (2**62).to_bytes(8, "little") + whole[8:]),
        ("no_header", whole[:8]),
        ("outside", whole.replace(b'"data_offsets":[0', b'"data_offsets":[9')),
    ):
        Path(f"{name}.safetensors").write_bytes(content)
        with pytest.raises(LoadError, match=r"cannot be read|does not fit"):
            load_model("models.py:plain", Path(f"{name}.safetensors"), None)

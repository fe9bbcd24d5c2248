"""`--device cuda`: commands run there, and write what they write without it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bnconvert.__main__ import main
from bnconvert.cli.device import in_main_memory
from tests.cli.conftest import stand_beside
from tests.cuda.models import needs_cuda

pytestmark = needs_cuda

CODE = """
import torch
from tests.cuda.models import IMAGES, Deep
from tests.zoo import trained

def factory():
    return trained(Deep()), (IMAGES,)

def here():
    return trained(Deep()).cuda()

def loader():
    return [(IMAGES, torch.arange(len(IMAGES)) % 4)]

def loss(output, batch):
    return torch.nn.functional.cross_entropy(output, batch[1], reduction="none")
"""


@pytest.fixture(autouse=True)
def _beside_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_beside("net", CODE, tmp_path, monkeypatch)


def called(*words: str, code: int = 0) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*words])
    assert (stop.value.code or 0) == code


def test_every_command_runs_there() -> None:
    model = "net.py:factory", "--device", "cuda"
    called("inspect", *model, "--input", "2,3,12,10")
    loss, never = ("--loss", "net.py:loss"), ("--fail-on", "never")
    called("diagnose", *model, "--data", "net.py:loader", *loss, *never)
    called("export", *model, "--verify-data", "net.py:loader", "-o", "m.onnx")
    called("verify", *model, "m.onnx")
    called("export", *model, "--calibrate", "net.py:loader", "-o", "calibrated.onnx")


def test_inputs_follow_a_model_that_its_factory_put_there() -> None:
    called("inspect", "net.py:here", "--input", "2,3,12,10")
    called("export", "net.py:here", "--input", "2,3,12,10", "-o", "m.onnx")


def test_the_files_are_those_of_the_cpu() -> None:
    for name, device in (("cpu", "cpu"), ("cuda", "cuda:0")):
        model = "net.py:factory", "--device", device
        called("convert", *model, "--policy", "Frozen()", "-o", f"{name}.pt")
        called("recompute", *model, "--data", "net.py:loader", "-o", f"{name}.safetensors")
        called("fold", *model, "-o", f"{name}.pt2")
    one, other = (torch.load(f"{name}.pt", weights_only=True) for name in ("cpu", "cuda"))
    assert {tensor.device.type for tensor in other.values()} == {"cpu"}
    assert all(torch.equal(one[key], other[key]) for key in {*one, *other})
    one, other = (load_file(f"{name}.safetensors") for name in ("cpu", "cuda"))
    for key in {*one, *other}:
        torch.testing.assert_close(one[key], other[key], rtol=1e-4, atol=1e-4)
    programs = [torch.export.load(f"{name}.pt2") for name in ("cpu", "cuda")]
    first, second = (p.module()(*p.example_inputs[0]) for p in programs)
    assert second.device.type == "cpu"
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


def test_one_program_runs_on_either_device() -> None:
    called("fold", "net.py:factory", "-o", "m.pt2")
    called("export", "m.pt2", "--device", "cuda", "-o", "m.onnx")
    called("verify", "m.pt2", "m.onnx")


def test_tensors_that_share_memory_still_do_in_the_file() -> None:
    weight = torch.randn(4, 4, device="cuda")
    state = in_main_memory({"whole": weight, "row": weight[1], "turned": weight.T})
    assert len({tensor.untyped_storage().data_ptr() for tensor in state.values()}) == 1
    assert torch.equal(state["row"], weight[1].cpu())
    assert torch.equal(state["turned"], weight.T.cpu())

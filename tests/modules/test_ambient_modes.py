"""Every verb does the same, whichever of torch's modes its caller happens to be in."""

import ast
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

import bnconvert as bnc
from tests.zoo import trained


@contextmanager
def lowered_float32() -> Iterator[None]:
    """Lower the precision of matrix products, as training frameworks advise."""
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


Mode = Callable[[], AbstractContextManager[object]]
MODES: dict[str, Mode] = {
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float32 in bfloat16": lowered_float32,
    "default device": lambda: torch.device("meta"),  # as a GPU, beside which tensors cannot be used
}
X = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))


def network(activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Linear(5, 6), nn.BatchNorm1d(6), activation(), nn.Linear(6, 3)
    return trained(nn.Sequential(*layers))


VERBS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "convert": lambda model: bnc.convert(model, bnc.Ghost(2)),
    "revert": lambda model: bnc.revert(bnc.convert(model, bnc.Frozen())),
    "prepare": lambda model: bnc.prepare(model, bnc.Frozen()).model,
    "graft": lambda model: bnc.fold(model, (X,)).graft(model),
    "fold": lambda model: bnc.fold(model, (X,)).module,
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_what_a_verb_makes_computes_the_same_and_can_be_trained(
    mode: Mode, verb: Callable[[nn.Module], nn.Module]
) -> None:
    model = network()
    with mode():
        made = verb(model)
    torch.testing.assert_close(made(X), model(X), rtol=1e-5, atol=1e-5)
    assert not any(tensor.is_inference() for tensor in made.state_dict().values())
    if not isinstance(made, torch.fx.GraphModule):
        made.train()(X).sum().backward()


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_a_model_is_exported_and_proven(mode: Mode, tmp_path: Path) -> None:
    model = network()
    with mode():
        assert bnc.export(model, (X,), tmp_path / "m.onnx").verdict == "agrees"
        assert bnc.verify(model, tmp_path / "m.onnx", (X,)).verdict == "agrees"


class Never(nn.Module):
    """Zero for all that comes from a norm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x - 1e6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_proof_is_as_empty_as_it_is_outside_of_the_mode(mode: Mode, tmp_path: Path) -> None:
    with mode(), pytest.raises(bnc.InconclusiveError):
        bnc.export(network(Never), (X,), tmp_path / "m.onnx")


def test_a_model_and_inputs_that_were_made_in_inference_mode_are_taken(tmp_path: Path) -> None:
    with torch.inference_mode():
        model, x = network(), X.clone()
    folded = bnc.fold(model, (x,))
    converted = bnc.convert(model, bnc.Ghost(2))
    assert bnc.export(model, (x,), tmp_path / "m.onnx").verdict == "agrees"
    with torch.no_grad():
        truth = model(X)
    for made in (folded.module, folded.graft(model), converted):
        torch.testing.assert_close(made(X), truth, rtol=1e-5, atol=1e-5)
    converted.train()(X).sum().backward()


@pytest.mark.parametrize("method", ["layerwise", "aggregate", "ema"])
def test_statistics_are_measured_whichever_side_of_inference_mode_the_model_is_from(
    method: Literal["layerwise", "aggregate", "ema"],
) -> None:
    """Torch writes into a tensor that was made in inference mode only there."""

    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()

    with torch.inference_mode():
        made_there = model()
    plain, measured_there, images = model(), model(), [torch.randn(4, 3, 8, 8) + 3]
    bnc.recompute_statistics(plain, images, method=method)
    mean = plain.get_buffer("1.running_mean")

    done = bnc.recompute_statistics(made_there, images, method=method)
    assert torch.equal(made_there.get_buffer("1.running_mean"), mean)
    done.undo()
    assert not made_there.get_buffer("1.running_mean").any()

    with torch.inference_mode():
        bnc.recompute_statistics(measured_there, images, method=method)
        bnc.diagnose(measured_there, images)
    assert torch.equal(measured_there.get_buffer("1.running_mean"), mean)
    measured_there(images[0]).sum().backward()


def test_what_fails_leaves_a_model_from_inference_mode_as_it_was() -> None:
    with torch.inference_mode():
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(RuntimeError):
        bnc.recompute_statistics(model, [torch.randn(4, 3, 8, 8), torch.randn(4, 2, 8, 8)])
    assert not model.get_buffer("1.running_mean").any()


FACTORIES = (
    *("arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn"),
    *("randperm", "tensor", "zeros"),
)
#: A norm without tensors is where its user's default device is.
WITHOUT_TENSORS = {"norms/virtual_norm.py"}


def test_no_tensor_is_made_on_the_callers_default_device() -> None:
    package = Path(bnc.__file__).parent
    found = {
        f"{path.relative_to(package)}:{node.lineno}"
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in [f"torch.{name}" for name in FACTORIES]
        and "device" not in [keyword.arg for keyword in node.keywords]
    }
    assert {place for place in found if place.partition(":")[0] not in WITHOUT_TENSORS} == set()


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_a_fault_below_the_modes_own_precision_is_noticed(mode: Mode, tmp_path: Path) -> None:
    model = network()
    bnc.export(model, (X,), tmp_path / "m.onnx")
    with torch.no_grad():
        next(model.parameters()).mul_(1.0005)
    with mode(), pytest.raises(bnc.VerificationError):
        bnc.verify(model, tmp_path / "m.onnx", (X,))

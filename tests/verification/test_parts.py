"""A part of an output is judged against its own size, as far as the model's own error allows it."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.verification.parts import WrongPart, wrong_part
from bnconvert.verification.references.reference import Reference
from bnconvert.verification.tolerance import FACTOR
from tests.zoo import IMAGE

Change = Callable[[Tensor], Tensor]
EPS = torch.finfo(torch.float32).eps


class Scaled(nn.Module):
    """A layer whose outputs are multiplied by numbers of many sizes, and a function of them."""

    def __init__(self, layer: nn.Module, sizes: Tensor, function: Change = lambda y: y) -> None:
        super().__init__()
        self.layer, self.function = layer, function
        self.sizes = nn.Parameter(sizes)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer(x) * self.sizes)


def rounded_elsewhere(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return what a right file might give: its weights were rounded once more."""
    exact, generator = copy.deepcopy(model).double(), torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in exact.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.mul_(1 + EPS * noise)
        result: Tensor = exact(inputs.double())
    return result.float()


def judged(model: nn.Module, inputs: Tensor, change: Change) -> WrongPart | None:
    """Judge what a right file gives, changed by a fault."""
    reference, example = Reference(model.eval()), Example.of((inputs,))
    answers = reference.answers(example)
    assert answers.perturbed is not None
    return wrong_part(
        change(rounded_elsewhere(model, inputs)),
        answers.true[0],
        [answers.native[0], answers.perturbed[0]],
        (run[0] for run in reference.perturbed_outputs(example)),
        factor=FACTOR,
        whole=0.0,
        bounded=0 in answers.bounded,
    )


def in_channel(place: int, factor: float) -> Change:
    def change(y: Tensor) -> Tensor:
        y = y.clone()
        y[:, place] *= factor
        return y

    return change


def in_small_values(y: Tensor) -> Tensor:
    return torch.where(y.abs() < 1e-4 * y.abs().max(), y * 1.001, y)


def in_row(y: Tensor) -> Tensor:
    return torch.cat([y[:1] * 1.001, y[1:]])


POWERS = 10.0 ** torch.arange(0.0, -8.0, -1.0)
TINY_CHANNELS = POWERS.reshape(-1, 1, 1)
ROWS = torch.tensor([1e-6, 1.0, 1e3]).reshape(-1, 1)
FAULTS: dict[str, tuple[nn.Module, Tensor, Change]] = {
    "a channel of 1e-7 of the largest, in an image": (
        Scaled(nn.Conv2d(3, 8, 3), TINY_CHANNELS),
        torch.randn(2, 3, 6, 6),
        in_channel(7, 1.1),
    ),
    "a feature of 1e-7 of the largest": (
        Scaled(nn.Linear(5, 8), POWERS),
        torch.randn(4, 5),
        in_channel(7, 1.1),
    ),
    "a channel in a series": (
        Scaled(nn.Conv1d(3, 8, 3), POWERS.reshape(-1, 1)),
        torch.randn(2, 3, 9),
        in_channel(5, 1.01),
    ),
    "small values beside exp of large ones": (
        Scaled(nn.Linear(5, 30), torch.tensor(12.0), torch.exp),
        torch.randn(6, 5),
        in_small_values,
    ),
    "small values of one axis": (
        Scaled(nn.Linear(5, 60), torch.tensor(12.0), lambda y: torch.exp(y).flatten()),
        torch.randn(3, 5),
        in_small_values,
    ),
    "a row of small values": (
        Scaled(nn.Linear(5, 4), ROWS),
        torch.randn(3, 5),
        in_row,
    ),
    "a channel in half": (
        Scaled(nn.Linear(5, 4), torch.tensor([1.0, 1.0, 1e-3, 1.0]), lambda y: y.half().float()),
        torch.randn(4, 5),
        in_channel(2, 1.1),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_small_part_is_seen_and_the_right_file_passes(name: str) -> None:
    torch.manual_seed(0)
    model, inputs, change = FAULTS[name]
    assert judged(model, inputs, lambda y: y) is None
    found = judged(model, inputs, change)
    assert found is not None
    assert found.error > found.allowed


class Cancelling(nn.Module):
    """Its last channel is what rounding leaves of two equal sums."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        nothing = (y * 100).sum(1, keepdim=True) - (y.flip(1) * 50).sum(1, keepdim=True) * 2
        return torch.cat([y, nothing], 1)


NOISE: dict[str, tuple[nn.Module, Tensor]] = {
    "cancelling sums": (Cancelling(), torch.randn(3, 5)),
    "one number a channel": (nn.Linear(5, 400), torch.randn(1, 5)),
    "dead channels": (
        Scaled(nn.Conv2d(3, 8, 3), torch.tensor(1.0), lambda y: (y - 9).relu()),
        torch.randn(2, 3, 5, 5),
    ),
    "ReLU near zero": (Scaled(nn.Linear(5, 90), torch.tensor(1e-4), torch.relu), torch.randn(9, 5)),
    "saturated sigmoid": (
        Scaled(nn.Linear(5, 90), torch.tensor(30.0), torch.sigmoid),
        torch.randn(9, 5),
    ),
    "SiLU of negative values": (
        Scaled(nn.Linear(5, 90), torch.tensor(30.0), nn.functional.silu),
        torch.randn(9, 5),
    ),
    "zeros": (Scaled(nn.Linear(5, 4), torch.tensor([0.0, 1.0, 0.0, 1e-30])), torch.randn(3, 5)),
    "infinity in a channel": (
        Scaled(nn.Linear(5, 4), torch.ones(4), lambda y: torch.cat([y, y / 0 * y.relu()], 1)),
        torch.randn(3, 5),
    ),
}


@pytest.mark.parametrize("name", NOISE)
def test_parts_that_are_rounding_noise_are_not_flagged(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = NOISE[name]
    assert judged(model, inputs, lambda y: y) is None


def test_what_kernels_approximate_is_allowed_in_small_values() -> None:
    """ONNX Runtime's sigmoid is off by a unit in the last place of 1, wherever it is used."""
    torch.manual_seed(0)
    model = Scaled(nn.Linear(5, 90), torch.tensor(12.0), lambda y: torch.sigmoid(y) * 3)
    inputs = torch.randn(9, 5) - 3
    assert judged(model, inputs, lambda y: y + EPS) is None
    assert judged(model, inputs, lambda y: y + 1000 * EPS) is not None


def seems_wrong() -> Iterator[Tensor]:
    """Further roundings, which are drawn only where a part seems wrong."""
    raise AssertionError("seems wrong")
    yield


def test_further_roundings_are_drawn_only_where_a_part_seems_wrong() -> None:
    truth = torch.arange(1.0, 9.0).reshape(2, 4).double()
    value = truth.float()
    part = partial(wrong_part, truth=truth, own=[value], factor=4, whole=0.0, bounded=False)
    assert part(value, perturbed=seems_wrong()) is None
    with pytest.raises(AssertionError, match="seems wrong"):
        part(value * 1.1, perturbed=seems_wrong())


def test_a_part_may_be_as_far_off_as_the_whole_and_nothing_is_drawn_for_it() -> None:
    truth = torch.randn(4, 3, 50, dtype=torch.float64)
    value = truth.float()
    value[:, 1] *= 1 + 1e-5
    part = partial(wrong_part, value, truth, [truth.float()], factor=4, bounded=False)
    assert part(seems_wrong(), whole=2e-5) is None
    wrong = part([], whole=5e-6)
    assert wrong is not None
    assert wrong.allowed == pytest.approx(5e-6)


def test_a_wrong_channel_of_a_file_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, path = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval(), tmp_path / "m.onnx"
    with torch.no_grad():
        model.get_parameter("1.weight")[2] *= 1e-7
    assert bnc.export(model, IMAGE, path).failures == ()
    file = onnx.load(path)
    for weight in file.graph.initializer:
        array = onnx.numpy_helper.to_array(weight).copy()
        if array.ndim == 4:
            array[2] *= 1.1
            weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    onnx.save(file, path)
    with pytest.raises(bnc.VerificationError, match=r"channel 2: relative error .* allowed"):
        bnc.verify(model, path, IMAGE)


def test_a_part_of_few_numbers_may_be_further_off_than_one_of_many() -> None:
    truth = torch.ones(2, 4, dtype=torch.float64)
    part = partial(wrong_part, truth=truth, own=[truth + 1e-3], factor=1, whole=0.0, bounded=False)
    assert part(truth + 1.9e-3, perturbed=[]) is None, "1 + 4 / 4 times as far"
    wrong = part(truth + 2.1e-3, perturbed=[])
    assert wrong is not None
    assert wrong.name == "row 0"
    assert wrong.allowed == pytest.approx(2e-3)

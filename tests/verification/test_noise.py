"""Where a model's own rounding errors leave no correct digit, agreement proves nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.numerics.distance import MEASURES
from bnconvert.verification.tolerance import FACTOR, Answers, Tolerance
from tests.zoo import trained

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def chaos(y: Tensor) -> Tensor:
    """Iterate a cosine that makes every error 500 times as large, until no digit is left."""
    for _ in range(9):
        y = torch.cos(1000 * y)
    return y


@dataclass
class Ending:
    """What is made of a network's values, and what is said of it."""

    function: Callable[[Tensor], Tensor | tuple[Tensor, ...]]
    message: str
    fix: str


class Network(nn.Module):
    """A small network whose values become something else at its end."""

    def __init__(self, ending: Ending) -> None:
        super().__init__()
        self.conv, self.norm, self.ending = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), ending

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.ending.function(torch.relu(self.norm(self.conv(x))))


UNJUDGED = {
    "a chaotic network": Ending(chaos, "rounding alone changes", "load trained weights"),
    "one chaotic output of two": Ending(
        lambda y: (y, chaos(y)), "changes the model's own output cos", "load trained weights"
    ),
    "small differences of large numbers": Ending(
        lambda y: (y * 1e-5 + 1e3) - 1e3, "rounding alone changes", "load trained weights"
    ),
    "dropout that is never off": Ending(
        lambda y: nn.functional.dropout(y), "draws random numbers", "find what draws them"
    ),
}


@pytest.mark.parametrize("name", UNJUDGED)
def test_an_output_without_a_correct_digit_cannot_be_judged(name: str, tmp_path: Path) -> None:
    ending = UNJUDGED[name]
    with pytest.raises(bnc.InconclusiveError) as failure:
        bnc.export(trained(Network(ending)), (IMAGE,), tmp_path / "m.onnx")
    report = failure.value.report
    assert report.verdict == "cannot be judged"
    assert not report.failures, "no part of noise is called wrong"
    finding = next(finding for finding in report.findings if finding.id == "BN413")
    assert ending.message in finding.message
    assert ending.fix in finding.fix


def test_zeros_are_within_the_tolerance_of_noise(tmp_path: Path) -> None:
    """That is why such a comparison proves nothing."""
    model = trained(Network(UNJUDGED["a chaotic network"]))
    file = tmp_path / "zeros.onnx"
    zeros = trained(Network(Ending(lambda y: y * 0.0 + 1e-3, "", "")))
    torch.onnx.export(zeros, (IMAGE,), file, dynamo=True)
    with pytest.raises(bnc.InconclusiveError, match="rounding alone changes"):
        bnc.verify(model, file, (IMAGE,))


class ChaoticAbove(nn.Module):
    """A layer, which is chaotic for inputs above a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.layer, self.limit = nn.Linear(6, 5), limit

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return torch.where(x.amax() > self.limit, chaos(y), y)


def test_other_inputs_are_judged_as_if_the_noisy_ones_were_not_there(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 6, generator=generator)
    x[3, 0] = 100.0  # so its row is noise, and every batch that contains it
    model = ChaoticAbove(50.0).eval()
    file = tmp_path / "m.onnx"
    report = bnc.export(model, (x,), file)
    assert report.verdict == "agrees"
    said = [note for note in report.notes if "is not judged on" in note]
    assert said, report.notes
    with torch.no_grad():
        model.layer.bias.add_(1e-3)
    with pytest.raises(bnc.VerificationError, match="the numbers disagree"):
        bnc.verify(model, file, (x,))


def test_inputs_on_which_an_output_is_noise_have_no_say_in_the_tolerance_of_others() -> None:
    truth = [torch.ones(4, dtype=torch.float64)]
    small, noise = [torch.full((4,), 1 + 1e-5)], [torch.full((4,), 1.5)]
    calm, noisy = Answers(truth, small), Answers(truth, noise)
    tolerance = Tolerance.of([calm, noisy])
    assert not tolerance.says_nothing(0)
    for measure in MEASURES:
        assert tolerance.allowed(0, measure) == pytest.approx(FACTOR * 1e-5, rel=0.2)
        assert tolerance.at(calm) is tolerance
        assert tolerance.at(noisy).allowed(0, measure) == pytest.approx(FACTOR * 0.5, rel=1e-2)
    assert Tolerance.of([noisy]).says_nothing(0)

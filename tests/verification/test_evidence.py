"""A comparison that holds may prove nothing; then it says what it says nothing about."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.exporting.failure_bundle import read_bundle
from bnconvert.verification.evidence import Evidence
from bnconvert.verification.weights.weight_trials import WeightTrials
from tests.zoo import trained

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Head = Callable[[Tensor], Tensor | tuple[Tensor, ...]]


class Headed(nn.Module):
    """A small classifier, and what is made of its scores."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.head = head

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.head(self.last(torch.relu(self.norm(self.conv(x))).mean((2, 3))))


def boxes(y: Tensor) -> tuple[Tensor, Tensor]:
    kept = (y[:, 0] > 1e9).nonzero()[:, 0]
    return y[kept], kept


def with_nan(y: Tensor) -> Tensor:
    return torch.cat([y, y[:, :1] * float("nan")], 1)


NOTHING = {
    "no boxes": (boxes, "is empty on every input"),
    "a saturated argmax": (lambda y: (y + torch.tensor([0.0, 1e6, 0.0])).argmax(1), "is the same"),
    "a threshold never reached": (lambda y: torch.where(y > 1e9, y, 0.0), "is the same"),
    "a mask that is never true": (lambda y: y > 1e9, "is the same"),
    "a dead ReLU": (lambda y: torch.relu(y - 1e6), "is the same"),
    "a saturated sigmoid": (lambda y: torch.sigmoid(y + 1e6), "is the same"),
    "beside an output that moves": (lambda y: (y, torch.relu(y - 1e6)), "is the same"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_an_output_that_never_moves_cannot_be_judged(name: str, tmp_path: Path) -> None:
    head, words = NOTHING[name]
    with pytest.raises(bnc.InconclusiveError, match=words) as failure:
        bnc.export(trained(Headed(head)), (IMAGE,), tmp_path / "m.onnx")
    report = failure.value.report
    assert report.verdict == "cannot be judged"
    assert not report.failures, "nothing differs"
    assert {f.id for f in report.findings if f.severity == "error"} == {"BN413"}
    assert failure.value.path == tmp_path / "m.unproven.onnx"
    bundle = tmp_path / "m.unproven.zip"
    assert failure.value.bundle == bundle
    assert {p.name for p in tmp_path.iterdir()} == {"m.unproven.onnx", bundle.name}
    assert f"to compare again: bnconvert verify MODEL {failure.value.path} --input {bundle}" in str(
        failure.value
    )
    torch.testing.assert_close(read_bundle(bundle).args, (IMAGE,))


MOVING = {
    "an argmax": lambda y: y.argmax(1),
    "constants of the model beside it": lambda y: (y, torch.arange(3), torch.zeros(0)),
    "sizes": lambda y: (y, torch.ones(y.shape[0])),
    "a mask that stronger inputs reach": lambda y: (y.abs() > 1.5).float(),
    "no gradients": torch.no_grad()(lambda y: y * 2),
    "what is cut off": lambda y: y.detach() * 2,
    "rounded outputs": lambda y: torch.round(y * 100),
    "whole numbers kept as they are": lambda y: (y * 50).floor() + y.ceil(),
    "rounded ones beside a smooth one": lambda y: (torch.round(y[:, 1:] * 100), y[:, :1]),
    "a sum of two equal ones of which one is negative": lambda y: (y, -y),
}


@pytest.mark.parametrize("name", MOVING)
def test_what_moves_or_is_meant_to_stay_is_proven(name: str, tmp_path: Path) -> None:
    report = bnc.export(trained(Headed(MOVING[name])), (IMAGE,), tmp_path / "m.onnx")
    assert (report.verdict, report.findings) == ("agrees", ())


def test_weights_behind_an_argmax_are_seen_inside_the_file_and_a_wrong_one_is_too(
    tmp_path: Path,
) -> None:
    """The best class hides an error of one weight by a percent; the value of the layer does not."""
    import onnx

    model = trained(Headed(lambda y: y.argmax(1)))
    bnc.export(model, (IMAGE,), tmp_path / "m.onnx")
    file = onnx.load(tmp_path / "m.onnx")
    (weight,) = (t for t in file.graph.initializer if tuple(t.dims) == (4, 3, 3, 3))
    array = onnx.numpy_helper.to_array(weight) * 1.0001
    weight.CopyFrom(onnx.numpy_helper.from_array(array.astype("float32"), weight.name))
    onnx.save(file, tmp_path / "off.onnx")
    with pytest.raises(bnc.InconclusiveError) as failure:
        bnc.verify(model, tmp_path / "off.onnx", (IMAGE,))
    (finding,) = failure.value.report.findings
    assert finding.id == "BN413"
    assert "conv.weight" in finding.paths


def test_weights_that_are_seen_inside_take_no_trial_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WeightTrials, "used", None)  # it takes two forwards for each weight
    report = bnc.export(trained(Headed(lambda y: y.argmax(1))), (IMAGE,), tmp_path / "m.onnx")
    assert (report.verdict, report.findings) == ("agrees", ())


def test_outputs_are_differentiated_one_by_one_only_where_nothing_else_shows_a_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Evidence, "_smooth_outputs", None)  # a backward pass for each
    rounded = Headed(lambda y: (torch.round(y * 50), y.argmax(1)))
    report = bnc.export(trained(rounded), (IMAGE,), tmp_path / "m.onnx")
    assert (report.verdict, report.findings) == ("agrees", ())


class Branch(nn.Module):
    """A residual branch whose last gamma is zero, as it is before training."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.norm(self.conv(x))
        return y


def test_weights_before_a_gamma_of_zero_are_named_and_do_not_matter(tmp_path: Path) -> None:
    model = trained(Branch())
    nn.init.zeros_(model.norm.weight)
    report = bnc.export(model, (IMAGE,), tmp_path / "m.onnx")
    assert report.verdict == "agrees"
    (finding,) = report.findings
    assert (finding.id, finding.severity) == ("BN413", "warning")
    assert finding.paths == ("conv.bias", "conv.weight")


class Auxiliary(nn.Module):
    """Its second head is not used in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.other = nn.BatchNorm2d(3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return self.other(y.mean((2, 3))) if self.training else y


def test_weights_that_are_not_used_need_no_evidence(tmp_path: Path) -> None:
    report = bnc.export(trained(Auxiliary()), (IMAGE,), tmp_path / "m.onnx")
    assert report.verdict == "agrees"
    assert {finding.severity for finding in report.findings} <= {"info"}


class Queries(nn.Module):
    """Its queries begin as constant zeros, as a DETR's do; the result of a head is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.values, self.other = nn.Linear(8, 8, bias=False), nn.Linear(8, 8)
        self.norm, self.last = nn.BatchNorm1d(8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.other(x)
        y: Tensor = self.last(self.norm(x + self.values(torch.zeros_like(x))))
        return y


def test_weights_on_which_no_output_depends_are_noted(tmp_path: Path) -> None:
    """No input would show them, and a fault in them changes nothing."""
    report = bnc.export(trained(Queries()), (IMAGE[:, 0, 0],), tmp_path / "m.onnx")
    assert (report.verdict, report.findings) == ("agrees", ())
    names = "other.bias, other.weight, values.weight"
    assert f"no output depends on {names}: there is nothing to compare" in report.notes


@pytest.mark.parametrize(
    "head",
    [with_nan, lambda y: y / torch.tensor([1.0, 0.0, 1.0]), lambda y: (y, y.log() * 0 - 1e999)],
    ids=["NaN", "infinity", "infinity in a second output"],
)
def test_values_that_are_not_finite_are_an_error_unless_allowed_by_name(
    head: Head, tmp_path: Path
) -> None:
    model = trained(Headed(head))
    with pytest.raises(bnc.InconclusiveError, match="NaN or infinite in") as failure:
        bnc.export(model, (IMAGE,), tmp_path / "m.onnx")
    (finding,) = (f for f in failure.value.report.findings if f.id == "BN414")
    name = finding.fix.partition('allow_nonfinite=("')[2].partition('"')[0]
    if "second" not in finding.message:
        report = failure.value.report
        assert name in {check.output for check in report.checks}


def test_infinity_that_is_allowed_is_compared_by_its_places(tmp_path: Path) -> None:
    def masked(y: Tensor) -> Tensor:
        return y.masked_fill(torch.tensor([False, True, False]), float("-inf"))

    model = trained(Headed(masked))
    with pytest.raises(bnc.InconclusiveError) as failure:
        bnc.export(model, (IMAGE,), tmp_path / "m.onnx")
    name = failure.value.report.checks[0].output
    report = bnc.export(model, (IMAGE,), tmp_path / "m.onnx", allow_nonfinite=[name])
    assert report.verdict == "agrees"

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.verification import comparison
from bnconvert.verification.files.onnx_runner import Feed, OnnxRunner
from bnconvert.verification.tolerance import FACTOR
from bnconvert.verification.verification import prove
from tests.zoo import IMAGE, Net, build, trained


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "plain.onnx"
    bnc.export(*build("plain"), path)
    return path


def scaled(path: Path, factor: float, target: Path) -> Path:
    """Write a copy of a file with the weight of one layer multiplied."""
    model = onnx.load(path)
    (weight,) = (t for t in model.graph.initializer if t.name == "conv.weight")
    array = onnx.numpy_helper.to_array(weight) * factor
    weight.CopyFrom(onnx.numpy_helper.from_array(array.astype("float32"), weight.name))
    onnx.save(model, target)
    return target


def test_a_correct_file_agrees_with_room_to_spare(file: Path) -> None:
    model, inputs = build("plain")
    report = prove(model, Example.of(inputs), file).report
    assert report.failures == ()
    assert "agrees with" in report.title
    assert not [note for note in report.notes if "in other batches" in note]
    assert all(check.error < 0.7 * check.allowed for check in report.checks)


def test_a_correct_single_convolution_is_not_flagged(tmp_path: Path) -> None:
    """torch's verify=True flags it: its relative error is taken element by element."""
    conv = nn.Conv2d(3, 8, 3).eval()
    assert bnc.export(conv, IMAGE, tmp_path / "conv.onnx").failures == ()


@pytest.mark.parametrize("factor", [1 + 1e-3, 1 + 1e-4, -1.0])
def test_a_planted_change_of_one_weight_is_caught(
    file: Path, tmp_path: Path, factor: float
) -> None:
    model, inputs = build("plain")
    report = prove(model, Example.of(inputs), scaled(file, factor, tmp_path / "off.onnx")).report
    assert {check.measure for check in report.failures} == {"norm", "peak"}
    assert "DIFFERS" in report.title


def test_a_planted_nan_is_caught(file: Path, tmp_path: Path) -> None:
    """torch's verify=True lets NaN pass: NaN >= threshold is false."""
    model, inputs = build("plain")
    report = prove(model, Example.of(inputs), scaled(file, math.nan, tmp_path / "nan.onnx")).report
    assert {check.detail for check in report.failures} == {
        "NaN or infinity at other places than the model's"
    }


def test_a_model_whose_own_output_is_nan_proves_nothing(tmp_path: Path) -> None:
    model, inputs = build("plain")
    with torch.no_grad():
        model.get_parameter("head.weight").fill_(math.nan)
    with pytest.raises(bnc.InconclusiveError, match="NaN or infinite in 512 of 512 entries"):
        bnc.export(model, inputs, tmp_path / "nan.onnx")


def test_a_file_of_fixed_batch_is_shown_rows_in_another_batch(tmp_path: Path) -> None:
    class Fixed(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.shape[0] in (1, 2) else x

    def net(**kwargs: bool) -> nn.Module:
        return trained(Fixed(lambda c: nn.BatchNorm2d(c, **kwargs)))

    report = bnc.export(net(), IMAGE, tmp_path / "fixed.onnx")
    assert any(check.measure == "rows" for check in report.checks)
    with pytest.raises(bnc.VerificationError) as failure:
        bnc.export(net(track_running_stats=False), IMAGE, tmp_path / "batch.onnx")
    assert {check.measure for check in failure.value.report.failures} == {"rows"}


def test_an_ill_conditioned_model_is_called_so(tmp_path: Path) -> None:
    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 1e-3 + 1e3) - 1e3

    report = bnc.export(Noise().eval(), IMAGE, tmp_path / "noise.onnx")
    assert any("is ill-conditioned" in note for note in report.notes)


def test_looking_changes_nothing_also_when_it_fails(file: Path, tmp_path: Path) -> None:
    model, inputs = build("plain")
    model.train()
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    off = scaled(file, 2.0, tmp_path / "off.onnx")
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, off, inputs)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_factor_leaves_room_for_other_kernels_and_little_for_errors() -> None:
    assert 2 < FACTOR < 10


def test_the_file_is_run_with_and_without_onnx_runtimes_optimizations(file: Path) -> None:
    model, inputs = build("plain")
    checks = prove(model, Example.of(inputs), file).report.checks
    optimized = {check.case: check.optimized for check in checks}
    assert optimized["given inputs, batch 2"]
    assert not optimized["given inputs, batch 2, unoptimized"]


def test_agreement_of_the_best_classes_and_directions_is_reported(tmp_path: Path) -> None:
    model = trained(nn.Sequential(nn.Flatten(), nn.Linear(192, 12), nn.BatchNorm1d(12)))
    report = bnc.export(model, IMAGE, tmp_path / "m.onnx")
    facts = {name: value for name, value in report.facts.items() if "top" in name or "cos" in name}
    assert facts
    assert any("top-5" in name for name in facts)


@pytest.mark.parametrize("optimized", [True, False])
def test_a_file_of_torchs_own_exporter_is_proven_too(tmp_path: Path, optimized: bool) -> None:
    model, inputs = build("residual")
    program = torch.onnx.export(model, inputs, dynamo=True, optimize=optimized, verbose=False)
    assert program is not None
    program.save(tmp_path / "foreign.onnx")
    assert bnc.verify(model, tmp_path / "foreign.onnx", inputs).failures == ()
    with torch.no_grad():
        model.get_parameter("conv2.weight").mul_(1.001)
    with pytest.raises(bnc.VerificationError, match="conv2"):
        bnc.verify(model, tmp_path / "foreign.onnx", inputs)


def test_a_model_that_is_random_in_eval_mode_is_said_to_be(tmp_path: Path) -> None:
    class Forgetful(Net):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(super().forward(x), 0.01, training=True)

    report = bnc.export(trained(Forgetful()), IMAGE, tmp_path / "m.onnx")
    assert [note for note in report.notes if "random numbers in eval mode" in note]


def test_what_is_wrong_at_another_batch_size_only_is_localized_there(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = build("plain")

    class WrongAbove(OnnxRunner):
        """It is right for batches as large as given."""

        def run(self, feed: Feed, names: Sequence[str] | None = None) -> list[Tensor] | str:
            large = any(len(tensor) > len(inputs[0]) for tensor in feed.tensors.values())
            outputs = super().run(feed, names)
            return [y * (1 + large) for y in outputs if isinstance(y, Tensor)]

    monkeypatch.setattr(comparison, "OnnxRunner", WrongAbove)
    proof = prove(model, Example.of(inputs), file)
    assert proof.holds_as_given
    assert proof.divergent_input is not None
    assert (proof.divergent_input.batch or 0) > len(inputs[0])


@pytest.mark.parametrize("culprit", ["the file", "ONNX Runtime's optimizations"])
def test_what_only_the_optimized_run_gets_wrong_is_no_divergence_of_the_file(
    culprit: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = build("plain")
    off = scaled(file, 2.0, tmp_path / "off.onnx")

    class Optimizing(OnnxRunner):
        """It runs another file where it may optimize."""

        def __init__(self, path: Path, *, unoptimized: bool = False, **more: Any) -> None:
            wrong = culprit == "the file" or not unoptimized
            super().__init__(off if wrong else path, unoptimized=unoptimized, **more)

    monkeypatch.setattr(comparison, "OnnxRunner", Optimizing)
    proof = prove(model, Example.of(inputs), file)
    failing = {check.optimized for check in proof.report.failures if check.measure != "rows"}
    blamed = [c for c in proof.report.failures if "own graph optimizations" in c.detail]
    if culprit == "the file":
        assert (failing, blamed) == ({True, False}, [])
        assert proof.divergent_input is not None
    else:
        assert failing == {True}
        assert blamed
        assert proof.divergent_input is None

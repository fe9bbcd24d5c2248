from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnxruntime import quantization
from onnxruntime.transformers import float16
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.verification.comparison import Proof
from bnconvert.verification.files.onnx_precision import precision_of
from bnconvert.verification.rounding.lowered_precision import FLOAT16, INT8
from bnconvert.verification.verification import prove
from tests.zoo import trained

X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()]
    return trained(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("precision") / "m.onnx"
    bnc.export(network(), (X,), path)
    return path


class Batches(quantization.CalibrationDataReader):  # type: ignore[misc]  # is untyped
    def __init__(self, file: Path) -> None:
        (taken,) = onnx.load(str(file)).graph.input
        rows = taken.type.tensor_type.shape.dim[0].dim_value or len(X)
        self.left = iter([{taken.name: batch.numpy()} for batch in X.split(rows)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def halved(file: Path, tmp_path: Path) -> Path:
    model = float16.convert_float_to_float16(onnx.load(str(file)))
    onnx.save(model, str(tmp_path / "half.onnx"))
    return tmp_path / "half.onnx"


def quantized(file: Path, tmp_path: Path) -> Path:
    target = tmp_path / "int8.onnx"
    quantization.quantize_static(str(file), str(target), Batches(file), per_channel=True)
    return target


def with_other_weights(file: Path, factor: float) -> Path:
    """Multiply the largest channel of the last layer's weights."""
    model = onnx.load(str(file))
    last = max(
        (t for t in model.graph.initializer if t.dims == [5, 8] or t.dims == [8, 5]),
        key=lambda t: len(t.raw_data),
    )
    values = numpy_helper.to_array(last).copy()
    values[np.unravel_index(np.abs(values.astype("float64")).argmax(), values.shape)] *= factor
    last.CopyFrom(numpy_helper.from_array(values, last.name))
    onnx.save(model, str(file))
    return file


def proof(path: Path) -> Proof:
    return prove(network(), Example.of((X,)), path)


@pytest.mark.filterwarnings("ignore")
def test_a_file_in_half_precision_has_the_tolerance_of_half_precision(
    file: Path, tmp_path: Path
) -> None:
    path = halved(file, tmp_path)
    assert (precision_of(file), precision_of(path)) == (None, FLOAT16)
    report = bnc.verify(network(), path, (X,))
    assert "the file computes in float16: it may be 4 times as far off" in str(report)
    assert max(c.allowed for c in report.checks if c.measure == "norm") < 0.02
    with pytest.raises(bnc.VerificationError) as failure:
        bnc.verify(network(), with_other_weights(path, 2), (X,))
    assert "(Gemm) is the first operator that diverges" in str(failure.value)


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_file_has_the_tolerance_of_eight_bits(file: Path, tmp_path: Path) -> None:
    path = quantized(file, tmp_path)
    assert precision_of(path) is INT8
    good = proof(path)
    assert (good.report.verdict, good.precision) == ("agrees", INT8)
    assert max(c.allowed for c in good.report.checks if c.measure == "norm") < 0.25
    assert proof(with_other_weights(path, -1)).report.verdict == "differs"


@pytest.mark.filterwarnings("ignore")
def test_one_given_row_suffices_for_a_quantized_file(file: Path, tmp_path: Path) -> None:
    path = quantized(file, tmp_path)
    assert bnc.verify(network(), path, (X[:1],)).verdict == "agrees"
    assert bnc.verify(file, path, (X[:1],), tolerance=0.2).verdict == "agrees"
    bias = nn.Linear(3, 2)
    nn.init.zeros_(bias.weight)
    constant = trained(nn.Sequential(nn.Flatten(), nn.Linear(192, 3), bias))
    torch.onnx.export(constant, (X[:1],), str(tmp_path / "c.onnx"), verbose=False)
    with pytest.raises(bnc.InconclusiveError, match="the same on every input"):
        bnc.verify(constant, quantized(tmp_path / "c.onnx", tmp_path), (X[:1],))


@pytest.mark.filterwarnings("ignore")
def test_fewer_rows_than_the_batch_of_a_quantized_file_are_filled_up(tmp_path: Path) -> None:
    torch.onnx.export(network(), (X,), str(tmp_path / "fixed.onnx"), verbose=False)
    path = quantized(tmp_path / "fixed.onnx", tmp_path)
    assert bnc.verify(network(), path, (X[:3],)).verdict == "agrees"
    assert bnc.verify(tmp_path / "fixed.onnx", path, (X[:3],), tolerance=0.2).verdict == "agrees"


@pytest.mark.filterwarnings("ignore")
def test_a_user_may_say_what_is_allowed(file: Path, tmp_path: Path) -> None:
    path = halved(file, tmp_path)
    with pytest.raises(bnc.VerificationError):
        bnc.verify(network(), path, (X,), tolerance=1e-6)
    report = bnc.verify(network(), path, (X,), tolerance=0.1, agreement=0.9)
    (best,) = (check for check in report.checks if check.measure == "top-1")
    assert (best.error, best.passed, round(best.allowed, 9)) == (0.0, True, 0.1)
    with pytest.raises(bnc.VerificationError, match=r"best class differs in .* of the given rows"):
        bnc.verify(network(), with_other_weights(path, -60), (X,), tolerance=1e9, agreement=1.0)
    conv = nn.Conv2d(3, 2, 1).eval()
    bnc.export(conv, (X,), tmp_path / "conv.onnx")
    with pytest.raises(bnc.ExportError, match="no output is of shape"):
        bnc.verify(conv, tmp_path / "conv.onnx", (X,), agreement=0.9)


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_no_budget_fits_is_judged_by_what_its_user_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = [layer for _ in range(9) for layer in (nn.Linear(32, 32), nn.Tanh())]
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), *layers, nn.Linear(32, 5)).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=5 / 32**0.5)  # it amplifies what rounding does
    bnc.export(model, (X,), tmp_path / "m.onnx")
    path = quantized(tmp_path / "m.onnx", tmp_path)
    with pytest.raises(bnc.InconclusiveError) as failure:
        bnc.verify(model, path, (X,))
    assert "rounding to int8 alone changes the model's own output" in str(failure.value)
    assert "near enough: tolerance=0.3 (--tolerance 0.3), with agreement" in str(failure.value)
    with pytest.raises(bnc.InconclusiveError):
        bnc.verify(model, path, (X,), agreement=0.1)
    assert bnc.verify(model, path, (X,), tolerance=3.0).verdict == "agrees"
    assert bnc.verify(model, path, (X,), tolerance=3.0, agreement=0.1).verdict == "agrees"
    assert bnc.verify(tmp_path / "m.onnx", path, (X,), tolerance=3.0).verdict == "agrees"


def test_a_bfloat16_network_is_refused_with_what_works_instead(tmp_path: Path) -> None:
    linears = trained(nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 5)))
    for model in (network(), linears):
        model.bfloat16()
        said = r"computes nothing in bfloat16: export model\.float\(\), .*; with dtype=torch"
        with pytest.raises(bnc.ExportError, match=said):
            bnc.export(model, (X.bfloat16(),), tmp_path / "m.onnx")
        report = bnc.export(model.float(), (X,), tmp_path / "m.onnx")
        assert report.verdict == "agrees"
        assert (
            bnc.verify(model.bfloat16(), tmp_path / "m.onnx", (X.bfloat16(),)).verdict == "agrees"
        )
        assert (
            bnc.export(model.float(), (X,), tmp_path / "h.onnx", dtype=torch.float16).verdict
            == "agrees"
        )


def test_what_rounds_to_bfloat16_and_computes_in_float32_has_the_budget_of_bfloat16(
    tmp_path: Path,
) -> None:
    class Rounding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = [*network().children()]
            self.first, self.rest = nn.Sequential(*layers[:3]), nn.Sequential(*layers[3:])

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x.bfloat16().float())
            z: Tensor = self.rest(y.bfloat16().float())
            return z

    report = bnc.export(Rounding().eval(), (X,), tmp_path / "m.onnx")
    assert report.verdict == "agrees"
    allowed = max(check.allowed for check in report.checks if check.measure == "norm")
    assert 1e-4 < allowed < 0.05, "neither float32's nor none"

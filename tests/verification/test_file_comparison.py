from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxslim
import pytest
import torch
from onnx import numpy_helper
from onnxruntime.transformers import float16

import bnconvert as bnc
from tests.verification.files.test_onnx_precision import X, network, quantized


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return torch's own file, with its norms."""
    path = tmp_path_factory.mktemp("files") / "plain.onnx"
    network_ = network()
    torch.onnx.export(network_, (X,), str(path), dynamo=True, verbose=False, external_data=False)
    return path


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "folded.onnx"
    bnc.export(network(), (X,), path, output_names=["logits"], input_names=["image"])
    return path


def with_changed_weight(path: Path, target: Path, place: int, change: float) -> Path:
    """Multiply the largest number of a file's weights of two axes or more, by its place."""
    model = onnx.load(str(path))
    weights = [t for t in model.graph.initializer if len(t.dims) > 1]
    values = numpy_helper.to_array(weights[place]).copy()
    values[np.unravel_index(np.abs(values).argmax(), values.shape)] *= change
    weights[place].CopyFrom(numpy_helper.from_array(values, weights[place].name))
    onnx.save(model, str(target))
    return target


def test_a_folded_file_agrees_with_the_one_that_has_norms(plain: Path, folded: Path) -> None:
    report = bnc.verify(plain, folded, (X,))
    assert report.title == "folded.onnx agrees with plain.onnx"
    assert "what is wrong in it is not seen" in report.notes[0]
    assert bnc.verify(folded, plain, (X,)).verdict == "agrees"
    assert all(check.allowed < 1e-4 for check in report.checks)


def test_an_optimized_file_agrees_by_the_names_of_its_inputs(folded: Path, tmp_path: Path) -> None:
    onnx.save(onnxslim.slim(str(folded)), str(tmp_path / "slim.onnx"))
    assert bnc.verify(str(folded), tmp_path / "slim.onnx", {"image": X}).verdict == "agrees"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_first_operator_that_differs_is_named(
    plain: Path, folded: Path, tmp_path: Path, place: int
) -> None:
    wrong = with_changed_weight(folded, tmp_path / "wrong.onnx", place, 1.01)
    graph = onnx.load(str(wrong)).graph
    weight = [t.name for t in graph.initializer if len(t.dims) > 1][place]
    (reader,) = (node for node in graph.node if weight in node.input)
    for reference in (folded, plain):
        with pytest.raises(bnc.VerificationError) as failure:
            bnc.verify(reference, wrong, (X,))
        (finding,) = failure.value.report.findings
        said = f"{reader.name} ({reader.op_type}) is the first operator that diverges"
        assert finding.message.startswith(said)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lower_precision_has_its_own_tolerance_or_asks_for_one(
    folded: Path, tmp_path: Path
) -> None:
    model = float16.convert_float_to_float16(onnx.load(str(folded)))
    onnx.save(model, str(tmp_path / "half.onnx"))
    report = bnc.verify(folded, tmp_path / "half.onnx", (X,))
    assert 1e-4 < max(check.allowed for check in report.checks if check.measure == "norm") < 0.05
    path = tmp_path / "int8.onnx"
    model = onnx.load(str(folded))
    model.graph.input[0].name = "input"
    for node in model.graph.node:
        node.input[:] = ["input" if name == "image" else name for name in node.input]
    onnx.save(model, str(tmp_path / "named.onnx"))
    path = quantized(tmp_path / "named.onnx", tmp_path)
    with pytest.raises(bnc.ExportError, match="is quantized, and a reference that is a file"):
        bnc.verify(folded, path, (X,))
    assert bnc.verify(folded, path, (X,), tolerance=0.1, agreement=0.8).verdict == "agrees"


@pytest.mark.slow
def test_files_with_other_outputs_are_refused(folded: Path, tmp_path: Path) -> None:
    model = onnx.load(str(folded))
    model.graph.output.append(onnx.ValueInfoProto(name=model.graph.node[0].output[0]))
    onnx.save(model, str(tmp_path / "two.onnx"))
    with pytest.raises(bnc.ExportError, match="has 2 outputs"):
        bnc.verify(folded, tmp_path / "two.onnx", (X,))
    with pytest.raises(bnc.ExportError, match="there is no such file"):
        bnc.verify(tmp_path / "none.onnx", folded, (X,))
    with pytest.raises(bnc.ExportError, match="give inputs"):
        bnc.verify(folded, folded, (X[:, :2],))


OPERATORS = {
    "noise": "{ a = MatMul(x, w) b = MatMul(x, v) y = Sub(a, b) }",
    "NaN": "{ n = Neg(x) a = Abs(x) m = Sub(n, a) s = Sub(m, one) y = Log(s) }",
}


@pytest.mark.parametrize("kind", OPERATORS)
def test_a_reference_without_a_correct_digit_proves_nothing(kind: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    w = generator.normal(size=(3, 3)).astype(np.float32) * 1e3
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> f (float[N, 3] x) => (float[N, 3] y) '
        "<float[1] one = {1.0}, float[3, 3] w, float[3, 3] v> " + OPERATORS[kind]
    )
    del model.graph.initializer[1:]
    near = np.nextafter(w, np.float32(np.inf)) - w
    for name, values in (("w", w), ("v", w + near)):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.save(model, str(tmp_path / "a.onnx"))
    with pytest.raises(bnc.InconclusiveError, match="the reference's output y is empty, not fin"):
        bnc.verify(tmp_path / "a.onnx", tmp_path / "a.onnx", (torch.randn(4, 3),))


def test_as_many_inputs_as_the_reference_has_are_asked_for(folded: Path) -> None:
    with pytest.raises(bnc.ExportError, match="has inputs image, and 2 tensors were given"):
        bnc.verify(folded, folded, (X, X))


@pytest.mark.parametrize("limit", [{"tolerance": -1.0}, {"tolerance": np.nan}, {"agreement": 1.5}])
def test_limits_that_are_none_are_refused(folded: Path, limit: dict[str, Any]) -> None:
    with pytest.raises(bnc.ExportError, match=r"is no (error|share); give one"):
        bnc.verify(folded, folded, (X,), **limit)


ROWS = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))
ROWS[1] *= 1e-4  # its errors are nothing to the batch as a whole
#: What takes the place of `c = Identity(a)` in a wrong file.
FAULTS = {
    "at batch 1": "s = Shape <start = 0, end = 1> (x) here = Equal(s, n1)",
    "at another length": "s = Shape <start = 2, end = 3> (x) same = Equal(s, n8) here = Not(same)",
    "in the second row": "s = Shape <start = 0, end = 1> (x) t = Squeeze(s) "
    "r = Range(zero, t, step) u = Unsqueeze(r, n12) here = Equal(u, n1)",
}
PLANTED = {
    name: f"{fault} f = Where(here, wrong, right) c = Mul(a, f)" for name, fault in FAULTS.items()
} | {
    "where it reads other rows": "m = ReduceMean <keepdims = 1> (a, n0) d = Mul(m, little) "
    "c = Add(a, d)"
}


def written(body: str, path: Path) -> Path:
    """Write a file: a scale for each of six channels, `body` from a to c, ReLU, and an addition."""
    weights = ", ".join(str(number / 4) for number in range(1, 7))
    constants = (
        f"float[6, 1] w = {{{weights}}}, float[1] right = {{1}}, float[1] wrong = {{1.001}}, "
        "float[1] little = {0.001}, int64[1] n0 = {0}, int64[1] n1 = {1}, int64[1] n8 = {8}, "
        "int64[2] n12 = {1, 2}, int64 zero = {0}, int64 step = {1}"
    )
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> f (float[N, 6, L] x) => (float[N, 6, L] y) '
        f"<{constants}> {{ a = Mul(x, w) {body} p = Relu(c) y = Add(p, c) }}"
    )
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("where", PLANTED)
def test_a_fault_that_shows_only_there_is_caught_and_its_operator_named(
    where: str, tmp_path: Path
) -> None:
    right = written("c = Identity(a)", tmp_path / "right.onnx")
    wrong = written(PLANTED[where], tmp_path / "wrong.onnx")
    with pytest.raises(bnc.VerificationError) as failure:
        bnc.verify(right, wrong, (ROWS,))
    (finding,) = failure.value.report.findings
    value = "d" if "other rows" in where else "c"
    said = f"the Mul that computes {value} is the first operator that diverges"
    assert finding.message.startswith(said)
    fine = written(PLANTED[where].replace("wrong", "right"), tmp_path / "fine.onnx")
    if "other rows" not in where:
        assert bnc.verify(right, fine, (ROWS,)).verdict == "agrees"


def test_what_was_compared_is_said(tmp_path: Path) -> None:
    path = written("c = Identity(a)", tmp_path / "right.onnx")
    report = bnc.verify(path, path, (ROWS,))
    assert {check.case for check in report.checks} >= {
        "given inputs, batch 4",
        "given rows, batch 1",
        "given rows, L 32",
    }
    assert [check for check in report.checks if check.measure == "rows"]
    assert "L: compared at 1, 5, 8, 9, 32" in report.notes
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 8
    onnx.save(model, str(tmp_path / "fixed.onnx"))
    notes = bnc.verify(path, tmp_path / "fixed.onnx", (ROWS,)).notes
    assert "fixed.onnx fixes axis 2 of x: compared at 8 only" in notes


def test_a_size_at_which_only_the_reference_runs_is_a_difference(tmp_path: Path) -> None:
    right = written("c = Identity(a)", tmp_path / "right.onnx")
    shape = "r = Reshape(a, n12) c = Expand(r, n1)"
    model = onnx.load(str(written(shape, tmp_path / "wrong.onnx")))
    (sizes,) = (t for t in model.graph.initializer if t.name == "n12")
    sizes.CopyFrom(numpy_helper.from_array(np.array([4, 6, 8]), "n12"))
    onnx.save(model, str(tmp_path / "wrong.onnx"))
    with pytest.raises(bnc.VerificationError, match="the Reshape that computes r is the first"):
        bnc.verify(right, tmp_path / "wrong.onnx", (ROWS,))


def test_an_output_that_never_changes_proves_nothing_and_stronger_inputs_show_one(
    tmp_path: Path,
) -> None:
    paths = {}
    for limit in (9, 20, 10**9):
        body = "{ b = Greater(x, limit) y = Cast <to = 1> (b) }"
        model = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 18]> f (float[N, 6, 8] x) => (float[N, 6, 8] y) '
            f"<float[1] limit = {{{limit}}}> {body}"
        )
        paths[limit] = tmp_path / f"{limit}.onnx"
        onnx.save(model, str(paths[limit]))
    with pytest.raises(bnc.VerificationError):
        bnc.verify(paths[9], paths[20], (ROWS,))
    with pytest.raises(bnc.InconclusiveError, match="output y is the same on every input"):
        bnc.verify(paths[10**9], paths[10**9], (ROWS,))

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.exporting.blame import Blame
from bnconvert.exporting.input_choice import raw_inputs
from bnconvert.graphs.example import Example
from bnconvert.reporting.records import Check, Finding
from bnconvert.reporting.report import Report
from tests.zoo import IMAGE, Net, build, trained

WRONG = Check("given", "y", "norm", 1.0, 0.1, False)
DIVERGES = Finding("BN404", "error", ("conv",), "Conv diverges", "check the operator")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "m.onnx"
    bnc.export(build("plain")[0], IMAGE, path, preprocess=(0.5, 0.2))
    return path


def blame(path: Path, model: nn.Module | None = None, *, raw: bool = True) -> Blame:
    model = model or build("plain")[0]
    return Blame.of(model, raw_inputs(model, Example.of(IMAGE), (0.5, 0.2) if raw else None), path)


def foreign(path: Path, target: Path) -> Path:
    """Return the same file without its metadata, as another tool writes it."""
    model = onnx.load(path)
    model.ClearField("metadata_props")
    onnx.save(model, target)
    return target


def edited(path: Path, target: Path) -> Path:
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = 1.1 * onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, target)
    return target


def test_verify_says_that_weights_or_preprocessing_were_forgotten(exported: Path) -> None:
    """No operator is blamed: nobody has edited the file."""
    model, both = trained(Net(), seed=7), {"preprocess": (0.5, 0.2)}
    with pytest.raises(bnc.VerificationError, match="BN415: the file was made from other weights"):
        bnc.verify(model, exported, IMAGE, **both)  # type: ignore[arg-type]
    with pytest.raises(bnc.VerificationError) as failure:
        bnc.verify(build("plain")[0], exported, IMAGE)
    assert "the file normalizes x itself, and no preprocess was given" in str(failure.value)
    assert "BN404" not in str(failure.value)
    assert not failure.value.report.notes or "diverges" not in failure.value.report.notes[-1]
    (finding,) = failure.value.report.findings
    assert (finding.id, finding.severity) == ("BN415", "error")
    assert finding.fix == "give raw inputs and --preprocess x=0.5/0.2"
    assert bnc.verify(build("plain")[0], exported, IMAGE, **both).failures == ()  # type: ignore[arg-type]


def test_an_edited_file_and_an_unedited_one_have_other_remedies(
    exported: Path, tmp_path: Path
) -> None:
    report = Report("", checks=(WRONG,), findings=(DIVERGES,))
    (as_written,) = blame(exported).explained(report).findings
    assert as_written.fix.startswith("the file is as bnconvert wrote it, from these weights")
    (changed,) = blame(edited(exported, tmp_path / "e.onnx")).explained(report).findings
    assert changed.fix.startswith("the file was changed after bnconvert had written it")
    (other,) = blame(foreign(exported, tmp_path / "f.onnx")).explained(report).findings
    assert other == DIVERGES


def test_a_file_that_was_changed_and_agrees_nevertheless_says_so(
    exported: Path, tmp_path: Path
) -> None:
    model = onnx.load(exported)
    model.graph.name = "another"
    onnx.save(model, tmp_path / "renamed.onnx")
    notes = {
        name: bnc.verify(build("plain")[0], path, IMAGE, preprocess=(0.5, 0.2)).notes
        for name, path in (("renamed", tmp_path / "renamed.onnx"), ("as written", exported))
    }
    said = "the file was changed after bnconvert had written it; what it computes now agrees"
    assert said in notes["renamed"]
    assert said not in notes["as written"]


def test_an_input_of_another_dtype_is_explained_too(tmp_path: Path) -> None:
    x = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    model, path = build("plain")[0], tmp_path / "m.onnx"
    bnc.export(model, (x,), path, preprocess=(127, 64))
    with pytest.raises(bnc.ExportError, match=r"give raw inputs and --preprocess x=127\.0/64\.0$"):
        bnc.verify(model, path, IMAGE)


def untrained() -> nn.Module:
    return Net().eval()


def zeroed() -> nn.Module:
    """Its last norm multiplies by zero, as timm's are when training starts."""
    model = build("residual")[0]
    nn.init.zeros_(model.get_parameter("bn2.weight"))
    return model


def virtual() -> nn.Module:
    model = untrained()
    return bnc.convert(model, bnc.Frozen())


@pytest.mark.parametrize(
    ("make", "path"),
    [(untrained, "norm"), (zeroed, "bn2"), (virtual, "norm")],
    ids=["untrained", "zero weights", "frozen before training"],
)
def test_what_statistics_hide_is_a_warning_by_name(make: object, path: str, exported: Path) -> None:
    """A file of another tool may be wrong there, and agree."""
    assert callable(make)
    hiding = Blame((), None, blame(exported, make(), raw=False).hiding)
    (found,) = hiding.explained(Report("")).findings
    assert (found.id, found.severity, found.paths) == ("BN416", "warning", (path,))
    assert hiding.explained(Report("", checks=(WRONG,))).findings == ()
    assert blame(exported, raw=False).hiding == ()


def test_a_file_as_export_wrote_it_was_proven_with_other_statistics() -> None:
    report = Blame((), True, ("norm",)).explained(Report(""))
    assert report.findings == ()
    assert "its export proved a copy with other statistics" in report.notes[0]
    (edited_since,) = Blame((), False, ("norm",)).explained(Report("")).findings
    assert edited_since.id == "BN416"


def test_a_wrong_weight_behind_a_zero_one_is_not_passed_in_silence(
    tmp_path: Path,
) -> None:
    """timm's zero last weights hide every convolution of their branch."""
    model, path = zeroed(), tmp_path / "m.onnx"
    bnc.export(model, IMAGE, path)
    assert [finding.id for finding in bnc.verify(model, path, IMAGE).findings] == ["BN413"]
    with torch.no_grad():
        model.get_parameter("conv2.weight").mul_(2)
    report = bnc.verify(model, path, IMAGE)
    assert [finding.id for finding in report.findings] == ["BN413", "BN415", "BN416"]
    assert {finding.severity for finding in report.findings} == {"warning"}


def fixed(path: Path, target: Path, rows: int) -> Path:
    """Return a file whose batch size another tool has fixed."""
    model = onnx.load(path)
    (value,) = model.graph.input
    value.type.tensor_type.shape.dim[0].dim_value = rows
    onnx.save(model, target)
    return target


def test_a_batch_size_that_was_fixed_afterwards_is_said(exported: Path, tmp_path: Path) -> None:
    model = build("plain")[0]
    (said,) = blame(fixed(exported, tmp_path / "m.onnx", 2), model).differences
    assert "as (*, 3, 8, 8) and has it as (2, 3, 8, 8) now (* may vary)" in said.text
    assert blame(exported, model).differences == ()
    report = bnc.verify(model, tmp_path / "m.onnx", IMAGE, preprocess=(0.5, 0.2))
    (finding,) = report.findings
    assert (finding.id, finding.severity) == ("BN415", "warning")

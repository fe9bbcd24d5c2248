from pathlib import Path

import onnx
import pytest

from bnconvert.exporting.writing.file_findings import file_findings, names_a_local_path
from bnconvert.exporting.writing.onnx_contents import OnnxContents


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ('File "/home/ann/net.py", line 3', True),
        ("C:\\Users\\ann\\net.py", True),
        ("/srv/models", True),
        ("conv1/weight", False),
        ("a / b", False),
        ("torch.nn.modules.conv.Conv2d", False),
    ],
)
def test_an_absolute_path_is_told_from_a_name(text: str, local: bool) -> None:
    assert names_a_local_path(text) is local


def contents(note: str, training: int, tmp_path: Path) -> OnnxContents:
    """Return a file with one batch norm and a note on it."""
    names = ["x", "scale", "b", "mean", "var"]
    node = onnx.helper.make_node(
        "BatchNormalization", names, ["y"], "norm", doc_string=note, training_mode=training
    )
    values = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in (*names, "y")]
    graph = onnx.helper.make_graph([node], "g", values[:-1], values[-1:])
    path = tmp_path / "m.onnx"
    onnx.save(onnx.helper.make_model(graph), path)
    return OnnxContents.of(path)


def test_a_clean_file_has_no_finding(tmp_path: Path) -> None:
    assert [*file_findings(contents("made by hand", 0, tmp_path))] == []


def test_a_norm_in_training_mode_and_a_path_in_a_note_are_found(tmp_path: Path) -> None:
    by_batch, local = file_findings(contents("/home/ann/net.py", 1, tmp_path))
    assert (by_batch.id, by_batch.severity, by_batch.paths) == ("BN402", "error", ("norm",))
    assert (local.id, local.severity) == ("BN410", "info")
    assert "(doc_string)" in local.message

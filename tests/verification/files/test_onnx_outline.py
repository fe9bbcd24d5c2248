"""An outline holds all that onnx reads of a file, but for the numbers of its weights."""

from pathlib import Path

import onnx
import pytest

import bnconvert as bnc
from bnconvert.verification.files.onnx_outline import outline_of
from tests.zoo import build


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    bnc.export(*build("plain"), path)
    return path


def without_numbers(path: Path) -> onnx.ModelProto:
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.HasField("raw_data"):
            tensor.raw_data = b""
    return model


def test_everything_else_is_as_onnx_reads_it(exported: Path) -> None:
    outline = outline_of(exported)
    assert outline.model == without_numbers(exported)
    assert outline.graph is not None
    graph = onnx.load(exported).graph.SerializeToString(deterministic=True)
    assert exported.read_bytes()[outline.graph] == graph


def test_a_weight_of_more_than_a_length_of_one_byte_is_left_out(exported: Path) -> None:
    weights = max(len(t.raw_data) for t in onnx.load(exported).graph.initializer)
    assert weights > 2**7
    size = exported.stat().st_size
    assert len(outline_of(exported).model.SerializeToString()) < size - weights


def test_a_graph_that_onnx_would_write_otherwise_is_said_to_be_none(
    exported: Path, tmp_path: Path
) -> None:
    """Protobuf reads fields in any order, and a message in parts; it writes neither."""
    whole, parts = onnx.load(exported), tmp_path / "parts.onnx"
    rest = onnx.ModelProto(graph=onnx.GraphProto(node=whole.graph.node[-1:]))
    del whole.graph.node[-1]
    parts.write_bytes(whole.SerializeToString() + rest.SerializeToString())
    outline = outline_of(parts)
    assert outline.graph is None
    assert outline.model.graph == onnx.load(exported).graph

    swapped, graph = tmp_path / "swapped.onnx", onnx.GraphProto(name="late")
    body = graph.SerializeToString() + onnx.GraphProto(node=rest.graph.node).SerializeToString()
    swapped.write_bytes(bytes([7 << 3 | 2]) + _length(len(body)) + body)
    assert outline_of(swapped).graph is None
    assert outline_of(swapped).model.graph.name == "late"


@pytest.mark.parametrize("content", [b"", b"no model", b"\x3a\xff\xff\x01", b"\x08"])
def test_a_damaged_file_is_what_onnx_says_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    try:
        expected = onnx.load(path)
    except Exception as failure:
        with pytest.raises(type(failure)):
            outline_of(path)
    else:
        assert outline_of(path).model == expected


def _length(size: int) -> bytes:
    assert 2**7 <= size < 2**14
    return bytes([size & 0x7F | 0x80, size >> 7])

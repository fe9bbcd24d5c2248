import importlib.util
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper

import bnconvert as bnc
from bnconvert.verification.files.onnx_runner import OnnxRunner
from bnconvert.verification.files.onnx_runtime import Runtime
from tests.zoo import IMAGE, build

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs openvino"
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runtime") / "plain.onnx"
    bnc.export(*build("plain"), path)
    return path


def test_a_provider_is_one_that_there_is(file: Path) -> None:
    model, inputs = build("plain")
    providers = ("CPUExecutionProvider",)
    assert bnc.verify(model, file, inputs, providers=providers).verdict == "agrees"
    with pytest.raises(bnc.ExportError, match="NoExecutionProvider is not in this onnxruntime"):
        bnc.verify(model, file, inputs, providers=("NoExecutionProvider",))
    with pytest.raises(bnc.ExportError, match="'tvm': is not known; give onnxruntime or openvino"):
        bnc.verify(model, file, inputs, runtime="tvm")
    with pytest.raises(bnc.ExportError, match="leave one of both out"):
        Runtime("openvino", ("CPUExecutionProvider",))


@needs_openvino
@pytest.mark.filterwarnings("ignore")
def test_openvino_runs_a_file_too(file: Path, tmp_path: Path) -> None:
    model, inputs = build("plain")
    report = bnc.verify(model, file, inputs, runtime="openvino")
    assert report.verdict == "agrees"
    assert [note for note in report.notes if "OpenVINO always optimizes" in note]
    runner, own = OnnxRunner(file, runtime=Runtime("openvino")), OnnxRunner(file)
    assert (runner.input_names, runner.output_names) == (own.input_names, own.output_names)
    assert runner.shape_of(own.input_names[0]) == [None, 3, 8, 8]
    feed = runner.feed([(own.input_names[0], IMAGE[0])])
    all_of_it, named = runner.run(feed), runner.run(feed, own.output_names)
    assert not isinstance(all_of_it, str)
    assert not isinstance(named, str)
    assert torch.equal(all_of_it[0], named[0])
    wrong = onnx.load(str(file))
    weight = wrong.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.01, weight.name))
    onnx.save(wrong, str(tmp_path / "wrong.onnx"))
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, tmp_path / "wrong.onnx", inputs, runtime="openvino")


def test_a_file_runs_on_as_many_threads_as_torch(file: Path) -> None:
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            session: Any = Runtime().session(file, None, unoptimized=False)
            assert session.get_session_options().intra_op_num_threads == count
    finally:
        torch.set_num_threads(threads)

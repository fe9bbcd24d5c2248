"""A file with weights beside it is replaced as a whole, whoever writes and whatever ends it."""

import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from bnconvert.exporting.writing import onnx_weights
from tests.exporting.writing.test_interrupted import X, in_another_process, names_in, outputs


def written(number: int, folder: Path, *, separate: bool = True) -> Path:
    """Write a file that adds a number to its input, as the exporter writes a large one."""
    folder.mkdir()
    weight = onnx.numpy_helper.from_array(np.full(40, number, np.float32), "weight")
    node = onnx.helper.make_node("Add", ["input", "weight"], ["output"])
    shaped = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 40])
        for name in ("input", "output")
    ]
    graph = onnx.helper.make_graph([node], "g", shaped[:1], shaped[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(
        model,
        folder / "m.onnx",
        save_as_external_data=separate,
        location="m.onnx.data",
        size_threshold=0,
    )
    return folder / "m.onnx"


def number_in(path: Path) -> float:
    return round(float((outputs(path) - X).mean()), 3)


def test_separate_weights_are_replaced_with_their_file(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "m.onnx"
    for number, name in enumerate(["m.onnx.data", "m.onnx.2.data", "m.onnx.data"]):
        onnx_weights.move(written(number, tmp_path / str(number)), path)
        assert number_in(path) == number
        assert names_in(path.parent) == {"m.onnx", name}
    onnx_weights.move(written(3, tmp_path / "small", separate=False), path)
    assert names_in(path.parent) == {"m.onnx"}


@pytest.mark.parametrize("suffix", [".data", ".onnx"])
def test_an_old_file_keeps_its_separate_weights_when_the_new_one_is_cut_off(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    path, replace = tmp_path / "out" / "m.onnx", os.replace
    onnx_weights.move(written(1, tmp_path / "old"), path)

    def cut(source: Path, target: Path) -> None:
        if Path(target).suffix == suffix:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            onnx_weights.move(written(2, tmp_path / "cut"), path)
    assert number_in(path) == 1
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    onnx_weights.move(written(3, tmp_path / "new"), path)
    assert number_in(path) == 3
    assert len(names_in(path.parent)) == 2, "nothing is left of what was cut off"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_processes_that_export_to_one_place_leave_one_of_their_files(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "m.onnx"

    def move_often(process: int) -> None:
        for turn in range(20):
            onnx_weights.move(written(process, tmp_path / f"{process}, {turn}"), path)

    children = [in_another_process(partial(move_often, process)) for process in (1, 2, 3)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert number_in(path) in (1, 2, 3)

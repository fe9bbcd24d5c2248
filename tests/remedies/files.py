"""Rows for files: where they can be written, and what can be read from them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

import bnconvert as bnc
from bnconvert.cli.example_inputs import example_inputs
from bnconvert.exporting.failure_bundle import bundle_of, read_bundle, write_bundle
from bnconvert.exporting.writing.onnx_weights import require_contained
from bnconvert.graphs.example import Example
from bnconvert.reporting.report import Report
from bnconvert.reporting.whole_file import require_writable, whole_file
from tests.remedies.arguments import Sum, read_only
from tests.remedies.command_line import made
from tests.remedies.exports import SMALL, small
from tests.remedies.row import Row


def write(path: Path, unwritable: Path | None = None) -> Any:
    """Write a file, where one folder may not be written."""
    with read_only(unwritable or path), whole_file(path) as place:
        place.write_text("new")


def with_weights(folder: Path, name: str) -> Path:
    """Write an ONNX file whose one weight lies in another file, beside it or elsewhere."""
    made(folder / "model")
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4], np.ones(4, np.float32).tobytes(), True)
    graph = helper.make_graph([], "g", [], [], [weight])
    path = folder / "model" / "m.onnx"
    onnx.save(
        helper.make_model(graph),
        str(path),
        save_as_external_data=True,
        location="w.data",
        size_threshold=0,
    )
    model = onnx.load(str(path), load_external_data=False)
    model.graph.initializer[0].external_data[0].value = name
    onnx.save(model, str(path))
    return path


def bundle(folder: Path) -> Any:
    """Write what a verification leaves, and read it."""
    path = bundle_of(folder / "m.onnx", "failed")
    write_bundle(path, Example((torch.ones(2, 3),), {}), Report("it differs"), "")
    return read_bundle(path)


FILES = (
    Row(
        "reporting/whole_file.py",
        "there is no folder",
        lambda folder: write(folder / "new" / "file"),
        lambda folder: write(made(folder / "new") / "file"),
    ),
    Row(
        "reporting/whole_file.py",
        "is a folder",
        lambda folder: write(folder),
        lambda folder: write(folder / "name"),
    ),
    Row(
        "reporting/whole_file.py",
        "is no path",
        lambda folder: write(folder / ("x" * 300)),
        lambda folder: write(folder / "x"),
    ),
    Row(
        "reporting/whole_file.py",
        "is read-only",
        lambda folder: write(folder / "file", folder),
        lambda folder: (write(made(folder / "new") / "file", folder), write(folder / "file")),
    ),
    Row(
        "exporting/export.py",
        "is not a file",
        lambda _: bnc.export(small(), SMALL, os.devnull),
        lambda folder: require_writable(folder / "model.onnx"),
    ),
    Row(
        "exporting/failure_bundle.py",
        "holds no inputs of a verification",
        lambda folder: example_inputs(Sum(), [str(folder / "other.zip")]),
        lambda folder: (bundle(folder), example_inputs(Sum(), ["1,3"])),
    ),
    Row(
        "exporting/writing/onnx_weights.py",
        "reads its weights from",
        lambda folder: require_contained(with_weights(folder, "../w.data")),
        lambda folder: require_contained(with_weights(made(folder / "other"), "w.data")),
    ),
)

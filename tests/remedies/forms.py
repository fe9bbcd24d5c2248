"""Rows for two files that are compared, and for a file in an older opset."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.exporting.writing.onnx_file import write
from bnconvert.exporting.writing.onnx_form import OnnxForm
from tests.remedies.row import Row

DIFFERENCE = """
<ir_version: 8, opset_import: ["" : 18]>
difference (float[N] x, float[N] y) => (float[N] z) { z = Sub(x, y) }
"""


def pair(folder: Path, inputs: Any = None, same: bool = True, **settings: Any) -> None:
    """Compare a file with itself, or with one that has an output more."""
    text = DIFFERENCE if same else DIFFERENCE.replace("z)", "z, float[N] x)")
    for name, written in (("a", DIFFERENCE), ("b", text)):
        (folder / f"{name}.onnx").write_bytes(onnx.parser.parse_model(written).SerializeToString())
    known = inputs or {"x": torch.ones(3), "y": torch.ones(3) / 3}
    bnc.verify(folder / "a.onnx", folder / "b.onnx", known, **settings)


def opset_of(folder: Path, opset: int) -> None:
    """Write a norm of each row, which is an operator since opset 17, in an opset."""
    form = OnnxForm(opset=opset)
    write(nn.LayerNorm(3).eval(), (torch.ones(2, 3),), {}, None, folder / "m.onnx", form)


def named(inputs: Any) -> None:
    OnnxForm.of(None, inputs, None)


def layers(wrap: Any, last: nn.Module) -> nn.Module:
    """Return two layers, of which the first may be TorchScript."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(wrap(nn.Conv2d(3, 4, 1).eval()), last).eval()


def scripted(folder: Path, wrap: Any) -> None:
    bnc.export(layers(wrap, nn.BatchNorm2d(4)), (torch.randn(2, 3, 4, 4),), folder / "m.onnx")


def captured(wrap: Any) -> None:
    bnc.fold(layers(wrap, nn.ReLU()), (torch.randn(2, 3, 4, 4),))


def as_tensors(folder: Path, array: Any) -> None:
    bnc.export(nn.ReLU().eval(), (array,), folder / "m.onnx")


def written(folder: Path) -> Path:
    as_tensors(folder, torch.eye(2, 3))
    return folder / "m.onnx"


FORMS = (
    Row(
        "exporting/writing/onnx_form.py",
        "is one name",
        lambda _: named("image"),
        lambda _: named(["image"]),
    ),
    Row(
        "exporting/writing/onnx_form.py",
        "is no opset that ONNX Runtime runs",
        lambda _: OnnxForm.of(6, None, None),
        lambda _: OnnxForm.of(7, None, None),
    ),
    Row(
        "exporting/candidate.py",
        "TorchScript, which neither",
        lambda folder: scripted(folder, torch.jit.script),
        lambda folder: scripted(folder, lambda layer: layer),
        slow=True,
    ),
    Row(
        "graphs/capture/capture_refusals.py",
        "is TorchScript; ",
        lambda _: captured(torch.jit.script),
        lambda _: captured(lambda layer: layer),
    ),
    Row(
        "graphs/example.py",
        "such as torch.from_numpy makes",
        lambda folder: as_tensors(folder, np.ones((2, 3), np.float32)),
        lambda folder: as_tensors(folder, torch.from_numpy(np.eye(2, 3, dtype=np.float32))),
    ),
    Row(
        "exporting/verify.py",
        "give the file in it",
        lambda folder: bnc.verify(nn.ReLU(), folder, (torch.eye(2, 3),)),
        lambda folder: bnc.verify(nn.ReLU(), written(folder), (torch.eye(2, 3),)),
    ),
    Row(
        "exporting/writing/onnx_opset.py",
        "knows no way down",
        lambda folder: opset_of(folder, 15),
        lambda folder: opset_of(folder, 18),
    ),
    Row(
        "exporting/verify.py",
        "are for a model, and {} is a file",
        lambda folder: pair(folder, preprocess=(0.5, 0.5)),
        lambda folder: pair(folder),
        slow=True,
    ),
    Row(
        "verification/file_comparison.py",
        "give one tensor for each",
        lambda folder: pair(folder, (torch.ones(3), torch.ones(3), torch.ones(3))),
        lambda folder: pair(folder, (torch.ones(3), torch.ones(3) / 3)),
        slow=True,
    ),
    Row(
        "verification/file_comparison.py",
        "compare files with the same outputs",
        lambda folder: pair(folder, same=False),
        lambda folder: pair(folder),
        slow=True,
    ),
    Row(
        "verification/references/reference_file.py",
        "{}: {}; give inputs that it takes",
        lambda folder: pair(folder, {"x": torch.ones(2), "y": torch.ones(3)}),
        lambda folder: pair(folder),
        slow=True,
    ),
)

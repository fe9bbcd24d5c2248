"""Rows for two files that are compared, and for a file in an older opset."""

from pathlib import Path
from typing import Any

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


FORMS = (
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

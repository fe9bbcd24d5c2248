"""Rows for exporting, and for comparing files with their models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx_ir
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.exporting.writing import onnx_file
from bnconvert.exporting.writing.onnx_form import OnnxForm
from bnconvert.exporting.writing.onnx_half import halve
from bnconvert.exporting.writing.onnx_names import rename
from bnconvert.exporting.writing.onnx_tracing import FlatCall, write_trace
from bnconvert.graphs.example import Example
from bnconvert.verification.agreement import agreement_checks
from bnconvert.verification.cases import Case
from bnconvert.verification.compared_inputs import Claim
from bnconvert.verification.files.onnx_runner import OnnxRunner
from bnconvert.verification.files.onnx_runtime import Runtime
from bnconvert.verification.tolerance import Answers
from tests.remedies.forms import DIFFERENCE, FORMS
from tests.remedies.row import Row
from tests.zoo import trained


def small() -> nn.Module:
    torch.manual_seed(0)
    return trained(nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)))


SMALL = (torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0)),)


def export(folder: Path, model: nn.Module, **settings: Any) -> Any:
    bnc.export(model, SMALL, folder / "a.onnx", **settings)


def verify(folder: Path, inputs: Any = SMALL, exported: bool = True) -> None:
    if exported:
        export(folder, small())
    bnc.verify(small(), folder / "a.onnx", inputs)


def partly_training(evaluated: bool) -> nn.Module:
    model = small()
    model.get_submodule("1").train()
    return model.eval() if evaluated else model


def streaming() -> nn.Module:
    return bnc.convert(small(), bnc.Adaptive(over="stream"))


class Styled(nn.Module):
    """Normalizes each sample, as a batch of one: by F.batch_norm, or as the advice says."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.conv, self.way = nn.Conv2d(3, 4, 1), way

    def forward(self, x: Tensor) -> Tensor:
        x, dims, eps = self.conv(x), (2, 3), 1e-5
        if self.way == "formula":
            return (x - x.mean(dims, keepdim=True)) / (
                x.var(dims, correction=0, keepdim=True) + eps
            ).sqrt()
        if self.way == "instance_norm":
            return nn.functional.instance_norm(x, eps=eps)
        joined = x.reshape(1, -1, *x.shape[2:])
        return nn.functional.batch_norm(joined, None, None, training=True, eps=eps).view_as(x)


class Bessel(nn.Module):
    """Calls an operator that ONNX lacks."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.special.bessel_j0(x)
        return y


def written(folder: Path, model: nn.Module, x: Tensor = SMALL[0]) -> Any:
    onnx_file.write(model.eval(), (x,), {}, None, folder / "a.onnx")
    OnnxRunner(folder / "a.onnx")


def traced(folder: Path, model: nn.Module) -> None:
    write_trace(FlatCall(model.eval(), Example(SMALL, {})), [("x", *SMALL)], folder / "a.onnx")


def styled(folder: Path, way: str) -> Any:
    x = (torch.randn(2, 3, 6, 6),)
    bnc.export(Styled(way).eval(), x, folder / f"{way}.onnx")


def named(inputs: Sequence[str], outputs: Sequence[str] = ()) -> None:
    form = OnnxForm.of(None, inputs, outputs)
    rename(onnx_ir.from_onnx_text(DIFFERENCE), form, [])


def halved(folder: Path, weight: float | None) -> None:
    """Write a file with such a number in its weights, in float16; without one, in float32."""
    conv = nn.Conv2d(3, 2, 1).eval()
    with torch.no_grad():
        conv.weight[0] = weight or 1.0
    written(folder, conv)
    if weight:
        halve(folder / "a.onnx")


MAP = torch.zeros(1, 2, 3)
CASE = Case("given", Example(SMALL, {}), (0,), True)


EXPORTS = (
    *FORMS,
    Row(
        "verification/files/onnx_runtime.py",
        "is not known; give",
        lambda folder: Runtime("tvm"),
        lambda folder: Runtime("openvino"),
    ),
    Row(
        "verification/files/onnx_runtime.py",
        "leave one of both out",
        lambda folder: Runtime("openvino", ("CPUExecutionProvider",)),
        lambda folder: [Runtime("openvino"), Runtime(providers=("CPUExecutionProvider",))],
    ),
    Row(
        "verification/files/onnx_runtime.py",
        "is not in this onnxruntime",
        lambda folder: Runtime(providers=("NoExecutionProvider",)),
        lambda folder: Runtime(providers=("CPUExecutionProvider",)),
    ),
    Row(
        "exporting/writing/onnx_form.py",
        "is there twice",
        lambda folder: named(["a", "b"], ["a"]),
        lambda folder: named(["a", "b"], ["c"]),
    ),
    Row(
        "verification/compared_inputs.py",
        "is no error",
        lambda _: Claim(tolerance=-0.05),
        lambda _: Claim(tolerance=0.05),
    ),
    Row(
        "verification/compared_inputs.py",
        "is no share",
        lambda _: Claim(agreement=99.0),
        lambda _: Claim(agreement=0.99),
    ),
    Row(
        "exporting/writing/onnx_form.py",
        "one is empty",
        lambda folder: named([], [""]),
        lambda folder: named([], ["c"]),
    ),
    Row(
        "exporting/writing/onnx_form.py",
        "torch.onnx cannot write this model in it",
        lambda folder: OnnxForm(opset=99).require_opset(18),
        lambda folder: OnnxForm(opset=18).require_opset(18),
    ),
    Row(
        "exporting/writing/onnx_form.py",
        "a file can be rewritten in torch.float16",
        lambda folder: OnnxForm.of(None, [], [], torch.int8),
        lambda folder: OnnxForm.of(None, [], [], torch.float16),
    ),
    Row(
        "exporting/writing/onnx_half.py",
        "and float16 ends at",
        lambda folder: halved(folder, 1e5),
        lambda folder: halved(folder, None),
        slow=True,
    ),
    Row(
        "verification/agreement.py",
        "no output is of shape (N, classes)",
        lambda folder: agreement_checks(["y"], {CASE: Answers([MAP], [MAP])}, {CASE: [MAP]}, 0.9),
        lambda folder: None,
    ),
    Row(
        "exporting/writing/onnx_names.py",
        "is what input {} of the model is called",
        lambda folder: named(["y", "x"]),
        lambda folder: named(["a", "y"]),
    ),
    Row(
        "exporting/writing/onnx_names.py",
        "give one name for each",
        lambda folder: named(["a"]),
        lambda folder: named(["a", "b"]),
    ),
    Row(
        "exporting/preconditions.py",
        "in training mode inside an eval model",
        lambda folder: export(folder, partly_training(evaluated=False)),
        lambda folder: export(folder, partly_training(evaluated=True)),
        slow=True,
    ),
    Row(
        "exporting/preconditions.py",
        "remember the test stream",
        lambda folder: export(folder, streaming()),
        lambda folder: export(folder, bnc.revert(streaming())),
        slow=True,
    ),
    Row(
        "exporting/verify.py",
        "there is no such file",
        lambda folder: verify(folder, exported=False),
        lambda folder: verify(folder),
        slow=True,
    ),
    Row(
        "exporting/preconditions.py",
        "calls F.batch_norm without running statistics",
        lambda folder: styled(folder, "batch_norm"),
        lambda folder: [styled(folder, way) for way in ("formula", "instance_norm")],
        slow=True,
    ),
    Row(
        "exporting/writing/onnx_file.py",
        "no ONNX file can be made",
        lambda folder: written(folder, small().bfloat16(), SMALL[0].bfloat16()),
        lambda folder: written(folder, small().bfloat16().float(), SMALL[0]),
        slow=True,
    ),
    Row(
        "exporting/writing/onnx_file.py",
        "no ONNX file can be made",
        lambda folder: written(folder, nn.Sequential(small(), Bessel())),
        lambda folder: (
            written(folder, small()),
            written(folder, nn.Sequential(small(), nn.SiLU())),
        ),
        slow=True,
    ),
    Row(
        "exporting/writing/onnx_tracing.py",
        "no ONNX file can be made by tracing",
        lambda folder: traced(folder, nn.Sequential(small(), Bessel())),
        lambda folder: traced(folder, small()),
    ),
)

"""The columns of the benchmark: how each way makes an ONNX file from a model."""

import contextlib
import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.reporting.report import Report
from bnconvert.torch_private.silence import quiet

OURS, BASE, SLIM, BY_CLASS, TIMMX = "ours", "torch.onnx", "+onnxslim", "by class", "timmx"
SIM, OPTIMIZER, FX = "+onnxsim", "+onnxoptimizer", "fx.fuse"
OPENVINO, OURS_IN_OPENVINO = "openvino", "ours+openvino"


class NotApplicableError(Exception):
    """The way has nothing to do for this model."""


def ours(model: nn.Module, example: Example, path: Path) -> Report:
    """Fold, write and verify."""
    return bnc.export(model, example, path)


def torch_onnx(model: nn.Module, example: Example, path: Path) -> None:
    """Export by torch, at its defaults, with as dynamic a batch as the model allows."""

    def axes(leaf: object) -> dict[int, Any] | None:
        return {0: Dim.AUTO} if isinstance(leaf, Tensor) and example.is_batched(leaf) else None

    args, kwargs = pytree.tree_map(axes, (example.args, example.kwargs))
    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            model,
            example.args,
            kwargs=example.kwargs,
            dynamo=True,
            dynamic_shapes=kwargs or args,
        )
        assert program is not None
        program.save(str(path), external_data=False)


def fx_fuse(model: nn.Module, example: Example, path: Path) -> None:
    """Fuse by torch.fx, then export by torch."""
    from torch.fx.experimental.optimization import fuse

    with quiet():
        fused = fuse(model)
    torch_onnx(fused, example, path)


def by_class(model: nn.Module, example: Example, path: Path) -> None:
    """Merge branches as timm does, which knows its own classes; then export by torch.

    Raises:
        NotApplicableError: no class of the model merges.
    """
    from timm.utils.model import reparameterize_model

    merged = reparameterize_model(copy.deepcopy(model))
    if len(list(merged.modules())) == len(list(model.modules())):
        raise NotApplicableError("no class of it merges branches")
    torch_onnx(merged, example, path)


def timmx(model: nn.Module, example: Example, path: Path) -> None:
    """Export by timmx, which builds timm's model by its name and loads our weights from a file.

    It merges branches as timm does, exports by torch, simplifies by onnxslim, and compares one
    output. The batch is fixed where it cannot be dynamic.

    Raises:
        NotApplicableError: the model is none of timm's own.
    """
    name = getattr(model, "pretrained_cfg", {}).get("architecture")
    inputs = example.tensors()
    if not name or not type(model).__module__.startswith("timm.") or len(inputs) != 1:
        raise NotApplicableError("timm has no name for it")
    from timmx import TimmxError, export_model

    weights = path.with_suffix(".pth")
    torch.save(model.state_dict(), weights)
    settings = {
        "output": path,
        "checkpoint": weights,
        "input_size": tuple(inputs[0].shape[1:]),
        "batch_size": inputs[0].shape[0],
    }
    with quiet(), contextlib.redirect_stdout(io.StringIO()):
        try:
            export_model("onnx", name, dynamic_batch=True, **settings)
        except TimmxError:
            export_model("onnx", name, **settings)


def onnxslim(base: Path, path: Path) -> None:
    """Simplify by onnxslim."""
    import onnx
    from onnxslim import slim

    with quiet():
        onnx.save(slim(str(base)), str(path))


def onnxsim(base: Path, path: Path) -> None:
    """Simplify by onnxsim."""
    import onnx
    from onnxsim import simplify

    with quiet():
        simplified, _ = simplify(onnx.load(str(base)))
    onnx.save(simplified, str(path))


def onnxoptimizer(base: Path, path: Path) -> None:
    """Optimize by onnxoptimizer, with its default passes."""
    import onnx
    from onnxoptimizer import optimize

    with quiet():
        onnx.save(optimize(onnx.load(str(base))), str(path))


FROM_MODEL: dict[str, Callable[[nn.Module, Example, Path], Report | None]] = {
    BASE: torch_onnx,
    OURS: ours,
    FX: fx_fuse,
    BY_CLASS: by_class,
    TIMMX: timmx,
}
#: They start with the file that torch makes.
FROM_FILE: dict[str, Callable[[Path, Path], None]] = {
    SLIM: onnxslim,
    SIM: onnxsim,
    OPTIMIZER: onnxoptimizer,
}
#: They load a file, whose column is told, in OpenVINO, and count what it runs.
IN_OPENVINO = {OPENVINO: BASE, OURS_IN_OPENVINO: OURS}
STARTS = {**dict.fromkeys(FROM_FILE, BASE), **IN_OPENVINO}
#: They have a file for some models only.
FOR_SOME = (BY_CLASS, TIMMX)
COLUMNS = (*FROM_MODEL, *FROM_FILE, *IN_OPENVINO)
#: What has to be installed for a column.
PACKAGES = {
    BY_CLASS: "timm",
    TIMMX: "timmx",
    SLIM: "onnxslim",
    SIM: "onnxsim",
    OPTIMIZER: "onnxoptimizer",
    OPENVINO: "openvino",
    OURS_IN_OPENVINO: "openvino",
}

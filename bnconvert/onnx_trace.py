"""An ONNX file by tracing one forward, for models that torch.export cannot capture whole.

What Python code decides from the numbers of a tensor becomes what it decided for the given inputs;
the tracer warns of each such place, and the places are returned. Sizes are fixed.
"""

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnconvert.errors import ExportError
from bnconvert.quiet import quiet
from bnconvert.tracing import first_line

#: Detectors need NMS and RoIAlign, which ONNX Runtime runs in this version.
_OPSET = 18
_DECIDING = "Converting a tensor to a Python", "Iterating over a tensor", "Using len"


def write_trace(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], path: Path
) -> list[str]:
    """Write one forward of a model as ONNX, by torch.onnx's exporter for TorchScript.

    Returns:
        The places (file and line) where Python code decided something from numbers.

    Raises:
        ExportError: the exporter or the ONNX checker refuses.
    """
    try:
        with torch.no_grad(), quiet(), _unlogged(), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            torch.onnx.export(
                model, args, str(path), kwargs=kwargs, dynamo=False, opset_version=_OPSET
            )
        _finish(path)
    except Exception as failure:
        raise ExportError(
            f"{path.name}: no ONNX file can be made by tracing ({first_line(failure)}); "
            "export a part of the model"
        ) from failure
    return list(dict.fromkeys(_decisions(warned)))


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Keep the exporter from printing the whole graph to stdout when it fails."""
    log = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *words: None  # the exporter switches it on, always
    try:
        yield
    finally:
        torch._C._jit_onnx_log = log


def _finish(path: Path) -> None:
    """Remove the notes on where in the user's source each node comes from, and check the file."""
    import onnx

    model = onnx.load(str(path))
    for node in _nodes(model.graph.node):
        node.doc_string = ""
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path), full_check=True)


def _nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g.node)


def _decisions(warned: Iterable[warnings.WarningMessage]) -> Iterator[str]:
    own = str(Path(torch.__file__).parent)
    for warning in warned:
        if str(warning.message).startswith(_DECIDING) and not warning.filename.startswith(own):
            yield f"{Path(warning.filename).name}:{warning.lineno}"

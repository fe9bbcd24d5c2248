"""The ONNX file: write it from a captured graph, label it, check it, run it."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from bnconvert.errors import ExportError
from bnconvert.quiet import quiet
from bnconvert.tracing import first_line

_SINGLE_FILE_LIMIT = 2**31 - 2**20  # protobuf's 2 GB, less room for the graph itself
_ABSOLUTE_PATH = re.compile(r'(?:^|[\s"\'(=])(?:/[\w.+-]+){2,}|[A-Za-z]:\\')


def write(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic_shapes: Any,
    path: Path,
) -> None:
    """Write `module` as ONNX, in one file where its weights fit into 2 GB.

    The exporter's notes on where in the user's source each node comes from are removed: they
    hold absolute paths of this machine.

    Raises:
        ExportError: the exporter or the ONNX checker refuses.
    """
    import onnx

    large = sum(t.nbytes for t in module.state_dict().values()) > _SINGLE_FILE_LIMIT
    try:
        with torch.no_grad(), quiet():
            program = torch.onnx.export(
                module, args, kwargs=kwargs, dynamo=True, dynamic_shapes=dynamic_shapes
            )
            assert program is not None
            program.save(str(path), external_data=large)
        _strip_paths(path)
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as failure:
        raise ExportError(
            f"{path.name}: no ONNX file can be made ({first_line(failure)}); "
            "replace the operator that is named, export a part of the model, or export "
            "model.float() where a dtype is the reason"
        ) from failure


def with_named_batch(dynamic_shapes: Any) -> Any:
    """Return the shapes of a capture with a dynamic batch with that axis called "batch"."""
    return pytree.tree_map(lambda hint: "batch" if hint is Dim.DYNAMIC else hint, dynamic_shapes)


def label(path: Path, properties: Mapping[str, str]) -> None:
    """Add `properties` to the file's own metadata (`metadata_props`)."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    onnx.helper.set_model_props(model, dict(properties))
    onnx.save(model, str(path))


def properties_of(path: str | Path) -> dict[str, str]:
    """Return the file's own metadata."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}


def move(draft: Path, target: Path) -> None:
    """Move a file to its place in one step; weights that lie beside it go first."""
    import onnx

    weights, beside = _weights_beside(draft), _weights_beside(target)
    if weights.exists():
        model = onnx.load(str(draft), load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = beside.name
        onnx.save(model, str(draft))
        os.replace(weights, beside)
    os.replace(draft, target)


def files_of(path: Path) -> list[Path]:
    """Return the file and, where the weights lie beside it, their file."""
    return [file for file in (path, _weights_beside(path)) if file.exists()]


def _weights_beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def count_operators(path: str | Path, operator: str) -> int:
    """Return how many nodes of the graph, subgraphs and functions included, are `operator`."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)

    def count(nodes: Any) -> int:
        total = 0
        for node in nodes:
            total += node.op_type == operator
            total += sum(count(a.g.node) for a in node.attribute if a.HasField("g"))
        return total

    return count(model.graph.node) + sum(count(f.node) for f in model.functions)


class OnnxRunner:
    """An ONNX file in ONNX Runtime on the CPU, fed and read with tensors."""

    def __init__(self, path: str | Path) -> None:
        """Load the file.

        Raises:
            ExportError: ONNX Runtime cannot run it, for example for want of a kernel.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: its warnings are about speed
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as failure:
            raise ExportError(
                f"{Path(path).name}: ONNX Runtime cannot load it ({first_line(failure)}); "
                "export model.float() where it lacks a kernel for the dtype"
            ) from failure

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs, in order."""
        return [value.name for value in self._session.get_inputs()]

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs, in order."""
        return [value.name for value in self._session.get_outputs()]

    @property
    def has_dynamic_batch(self) -> bool:
        """Whether the first axis of the first input may have any size."""
        shapes = [value.shape for value in self._session.get_inputs() if value.shape]
        return bool(shapes) and not isinstance(shapes[0][0], int)

    def run(self, args: Sequence[Tensor], kwargs: Mapping[str, Tensor]) -> list[Tensor]:
        """Run the file on positional and keyword tensors.

        Raises:
            ExportError: the inputs do not fit, or a kernel fails.
        """
        names = self.input_names
        feed = dict(zip(names, args, strict=False))
        rest = [name for name in names if name not in feed]
        by_name = {name: kwargs[name] for name in rest if name in kwargs}
        if len(by_name) < len(rest):  # the exporter renamed them: their order still holds
            by_name = dict(zip(rest, kwargs.values(), strict=False))
        feed |= by_name
        if len(feed) < len(names) or len(args) + len(kwargs) > len(names):
            raise ExportError(
                f"the file has inputs {', '.join(names)}, and {len(args) + len(kwargs)} tensors "
                "were given; give one tensor for each"
            )
        arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in feed.items()}
        try:
            outputs = self._session.run(None, arrays)
        except Exception as failure:
            raise ExportError(
                f"ONNX Runtime cannot run the file on inputs of shape "
                f"{[tuple(a.shape) for a in arrays.values()]} ({first_line(failure)}); "
                "give inputs of the shapes that it was exported for"
            ) from failure
        return [torch.from_numpy(np.asarray(output)) for output in outputs]


def _strip_paths(path: Path) -> None:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    graphs = [model.graph, *model.functions]
    entries = [model, model.graph, *(node for graph in graphs for node in graph.node)]
    entries += [*model.graph.input, *model.graph.output, *model.graph.value_info]
    for entry in entries:
        kept = [
            (p.key, p.value) for p in entry.metadata_props if not _ABSOLUTE_PATH.search(p.value)
        ]
        del entry.metadata_props[:]
        for key, value in kept:
            entry.metadata_props.add(key=key, value=value)
    onnx.save(model, str(path))

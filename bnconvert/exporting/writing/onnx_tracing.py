"""Write an ONNX file by tracing one forward, where torch.export cannot capture the whole model.

What Python code decides or computes from the numbers of a tensor becomes a constant, as it was for
the given inputs; the tracer warns of such places, and they are returned. Sizes are fixed.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from bnconvert.errors import ExportError, first_line
from bnconvert.exporting.writing.onnx_form import OnnxForm
from bnconvert.exporting.writing.onnx_half import halve
from bnconvert.exporting.writing.onnx_names import output_keys, rename
from bnconvert.graphs.example import Example, NamedTensor
from bnconvert.graphs.opaque_objects import input_obstacle, output_obstacle
from bnconvert.torch_private.silence import quiet, without_graph_prints
from bnconvert.verification.files.onnx_nodes import nodes_of

#: Detectors need NMS and RoIAlign, which ONNX Runtime runs in this version.
_OPSET = 18
_PLAIN = OnnxForm()
#: How the tracer's warnings begin: of decisions, and of numbers that become constants.
_FIXING = "Converting a tensor to a", "Iterating over a tensor", "Using len", "torch."


class FlatCall(nn.Module):
    """A model with a flat call, as the tracer takes it: tensors in, tensors out.

    Attributes:
        model: the model.
        others: how many outputs of the last forward were not tensors.
        keys: what the keys of its output call the tensors in it, as `output_keys` returns.
    """

    def __init__(self, model: nn.Module, example: Example) -> None:
        """Keep the inputs that are not tensors.

        Raises:
            ExportError: tensors of the inputs would be constants.
        """
        super().__init__()
        if refusal := input_obstacle((example.args, example.kwargs)):
            raise ExportError(f"{type(model).__name__}: {refusal}")
        self.model, self.others = model, 0
        self.keys: list[str] = []
        self.training = model.training
        self._leaves, self._structure = tree_flatten((example.args, example.kwargs))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run the model on the example with these tensors in it; return the output tensors.

        Raises:
            ExportError: tensors of the output would be left out, or it has none.
        """
        given = iter(tensors)
        leaves = [next(given) if isinstance(x, Tensor) else x for x in self._leaves]
        args, kwargs = tree_unflatten(leaves, self._structure)
        output = self.model(*args, **kwargs)
        if refusal := output_obstacle(output):
            raise ExportError(f"{type(self.model).__name__}: {refusal}")
        results = tree_leaves(output)
        found = tuple(value for value in results if isinstance(value, Tensor))
        self.keys = output_keys(output)
        self.others = sum(value is not None for value in results) - len(found)
        return found


def write_trace(
    model: FlatCall, inputs: Sequence[NamedTensor], path: Path, form: OnnxForm = _PLAIN
) -> list[str]:
    """Write one forward of a model as ONNX, by torch.onnx's exporter for TorchScript.

    Args:
        model: in eval mode.
        inputs: tensors, with the names that they get in the file.
        path: the file.
        form: the opset, and the names of inputs and outputs.

    Returns:
        The places, file and line, where Python took numbers out of tensors; "torch" for those
        inside torch.

    Raises:
        ExportError: the exporter or the ONNX checker refuses.
    """
    names = [name or f"input_{index}" for index, (name, _) in enumerate(inputs)]
    try:
        with (
            torch.no_grad(),
            quiet(),
            without_graph_prints(),
            warnings.catch_warnings(record=True) as warned,
        ):
            warnings.simplefilter("always")
            torch.onnx.export(
                model,
                tuple(tensor.clone() for _, tensor in inputs),
                str(path),
                input_names=names,
                dynamo=False,
                opset_version=form.opset or _OPSET,
            )
        _finish(path, form, model.keys)
    except ExportError:
        raise
    except Exception as failure:
        raise ExportError(
            f"{path.name}: no ONNX file can be made by tracing ({first_line(failure)}); "
            "export a part of the model"
        ) from failure
    return list(dict.fromkeys(_fixed(warned)))


def _finish(path: Path, form: OnnxForm, keys: Sequence[str]) -> None:
    """Name inputs and outputs, remove the notes on where nodes come from, and check the file."""
    import onnx
    import onnx_ir

    model = onnx.load(str(path))
    for node in nodes_of(model.graph):
        node.doc_string = ""
    if form.inputs or form.outputs or any(keys):
        named = onnx_ir.from_proto(model)
        rename(named, form, keys)
        model = onnx_ir.to_proto(named)
    onnx.save(model, str(path))
    if form.half:
        halve(path)
    onnx.checker.check_model(str(path), full_check=True)


def _fixed(warned: Iterable[warnings.WarningMessage]) -> Iterator[str]:
    """Yield the places in Python code where the tracer warned of a constant."""
    own = str(Path(torch.__file__).parent)
    for warning in warned:
        tracers = warning.category.__name__ == "TracerWarning"
        if tracers and str(warning.message).startswith(_FIXING):
            inside = warning.filename.startswith(own)
            yield "torch" if inside else f"{Path(warning.filename).name}:{warning.lineno}"

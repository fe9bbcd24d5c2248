"""The ONNX file: write it from a captured graph."""

import contextlib
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from bnconvert.errors import ExportError, first_line
from bnconvert.exporting.simplification import onnx_sample_convolution
from bnconvert.exporting.simplification.decomposed_program import DecomposedProgram
from bnconvert.exporting.simplification.onnx_means import write_means_as_pooling
from bnconvert.exporting.simplification.onnx_norms import summands_of, write_as_norms
from bnconvert.exporting.simplification.onnx_rules import tried_where_they_may_match
from bnconvert.exporting.simplification.onnx_splits import give_sizes
from bnconvert.exporting.simplification.onnx_states import drop_zero_states
from bnconvert.exporting.writing.file_findings import names_a_local_path
from bnconvert.exporting.writing.onnx_form import OnnxForm
from bnconvert.exporting.writing.onnx_half import halve
from bnconvert.exporting.writing.onnx_names import axes_of_tensors, graph_output_keys, rename
from bnconvert.exporting.writing.onnx_opset import lower_form, lower_opset
from bnconvert.exporting.writing.onnx_saving import save
from bnconvert.exporting.writing.onnx_weights import SINGLE_FILE_LIMIT
from bnconvert.folding.folding import Folded
from bnconvert.graphs.capture.capture_attempts import BATCH
from bnconvert.torch_private.silence import quiet
from bnconvert.verification.files.onnx_loading import WITHOUT_BFLOAT16

PLAIN = OnnxForm()  # as torch.onnx writes it by itself
_NO_OUTPUT = "the model: its forward returns no tensor; return what the file should compute"
_NO_INPUT = "the model: takes no tensor, and the file would be a constant; give example tensors"

_REMEDY = (
    "replace the operator that is named, export a part of the model, or export "
    "model.float(), without autocast in its forward, where a dtype is the reason"
)


def write(
    model: nn.Module | ExportedProgram,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic_shapes: Any,
    path: Path,
    form: OnnxForm = PLAIN,
    keys: Sequence[str] = (),
    summands: Collection[str] = (),
) -> None:
    """Write a module or a captured program as ONNX, in one file where its weights fit into 2 GB.

    The exporter's notes on where in the user's source each node comes from are removed: they
    hold absolute paths of this machine.

    Args:
        model: what to write.
        args: its positional inputs.
        kwargs: its keyword inputs.
        dynamic_shapes: as for torch.onnx.export.
        path: the file.
        form: the opset, and the names of inputs and outputs.
        keys: what the keys of the model's output call its tensors, as `output_keys` returns.
        summands: the weights that are what is left of norms, as `summands_of` returns.

    Raises:
        ExportError: the exporter or the ONNX checker refuses.
    """
    import onnx

    weights = model.state_dict if isinstance(model, ExportedProgram) else model.state_dict()
    large = sum(t.nbytes for t in weights.values()) > SINGLE_FILE_LIMIT
    if args and isinstance(args[-1], dict) and not kwargs:
        args = (*args, {})  # torch.onnx takes a dict at the end for the keyword inputs
    try:
        with torch.no_grad(), quiet(), tried_where_they_may_match():
            program = _program(model, args, kwargs, dynamic_shapes, form, keys)
            _rewrite(program.model, summands)
            save(program, path, beside=large)
            if form.is_older_than(program.model.opset_imports.get("")):
                lower_opset(path, form.opset or 0)
            if form.half:
                halve(path)
        onnx.checker.check_model(str(path), full_check=True)
    except ExportError:
        raise
    except OSError as failure:
        raise ExportError(
            f"{path.name}: cannot be written ({failure.strerror or failure}); free some space, or "
            "export into another folder"
        ) from failure
    except Exception as failure:
        remedy = WITHOUT_BFLOAT16 if "bfloat16" in str(failure) else _REMEDY
        raise ExportError(
            f"{path.name}: no ONNX file can be made ({reason(failure)}); {remedy}"
        ) from failure


def _rewrite(model: Any, summands: Collection[str]) -> None:
    """Write in memory what torch.onnx writes in more operators, or in dearer ones."""
    write_as_norms(model, summands)
    drop_zero_states(model)
    write_means_as_pooling(model)


def _program(
    model: nn.Module | ExportedProgram,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic_shapes: Any,
    form: OnnxForm,
    keys: Sequence[str],
) -> torch.onnx.ONNXProgram:
    """Make the file in memory, with its names and without notes; arguments as for `write`."""
    program = torch.onnx.export(
        model,
        args,
        kwargs=kwargs,
        dynamo=True,
        dynamic_shapes=dynamic_shapes,
        opset_version=form.opset,
        custom_translation_table=dict(onnx_sample_convolution.translations()),
    )
    assert program is not None
    if not program.model.graph.outputs:
        raise ExportError(_NO_OUTPUT)
    if not program.model.graph.inputs:
        raise ExportError(_NO_INPUT)
    written = program.model.opset_imports.get("")
    if not form.is_older_than(written):
        form.require_opset(written)
    rename(program.model, form, keys)
    _strip_paths(program.model)
    if form.is_older_than(written):
        give_sizes(program.model)
    if form.opset is not None:
        lower_form(program.model)
    return program


def write_folded(folded: Folded, path: Path, form: OnnxForm, *, any_batch: bool) -> None:
    """Write a folded graph: as an exported program, or else as a module that is exported.

    Args:
        folded: a model that was captured whole.
        path: the file.
        form: the opset, and the names of inputs and outputs.
        any_batch: whether only the batch size may vary, unasked.

    Raises:
        ExportError: as `write`.
    """
    captured, module = folded.captured, folded.module
    assert isinstance(module, fx.GraphModule), "what is captured whole is folded as a graph"
    shapes = captured.dynamic_shapes
    if any_batch:
        shapes = with_named_batch(shapes)
    args, kwargs = captured.example.args, captured.example.kwargs
    program, keys = folded.program(), graph_output_keys(module)
    summands = summands_of(folded)
    if program is not None:
        with contextlib.suppress(ExportError):  # the module, which is traced again, may do
            decomposed = DecomposedProgram.of(program, has_attention=form.has_attention)
            named = axes_of_tensors(module, captured.example, shapes)
            write(decomposed, args, kwargs, named, path, form, keys, summands)
            return
    fixed = all(leaf is None for leaf in pytree.tree_leaves(shapes))
    write(module, args, kwargs, None if fixed else shapes, path, form, keys, summands)


def reason(failure: BaseException) -> str:
    """Return why an export failed, with the operator that it names, if any."""
    operator, deepest = None, failure
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
        operator = operator or re.search(r"translating node %\w+ .*?target=([\w.]+)", str(deepest))
    return f"{operator[1]}: {first_line(deepest)}" if operator else first_line(deepest)


def with_named_batch(dynamic_shapes: Any) -> Any:
    """Return the shapes of a capture with a dynamic batch with that axis called "batch"."""
    return pytree.tree_map(lambda hint: BATCH if hint is Dim.DYNAMIC else hint, dynamic_shapes)


def _strip_paths(model: Any) -> None:
    """Remove the notes that hold absolute paths, from a model of onnx_ir in memory."""
    entries: list[Any] = [model]
    for graph in (model.graph, *model.functions.values()):
        nodes = list(graph.all_nodes())
        entries += [graph, *graph.inputs, *nodes, *(out for node in nodes for out in node.outputs)]
    for entry in entries:
        for key in [k for k, text in entry.metadata_props.items() if names_a_local_path(text)]:
            del entry.metadata_props[key]

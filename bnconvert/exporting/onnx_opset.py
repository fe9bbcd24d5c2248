"""Older opsets: ONNX's own converter takes a file down where torch.onnx writes none; their form."""

from pathlib import Path
from typing import Any

from bnconvert.errors import ExportError, first_line

#: Attributes that older versions of an operator do not have, where they say what is usual.
_USUAL = {"noop_with_empty_axes": 0}
_BFLOAT16 = 16  # types with larger numbers came with later forms of a file
_FUNCTIONS = 8  # the first form that holds functions


def lower_form(model: Any) -> None:
    """Give a file the form that came with its opset: runtimes of its time read no later one.

    Attributes that operators of its opset may not have are left out where they say what is usual.

    Args:
        model: of onnx_ir, in memory; is changed in place.
    """
    from onnx.helper import find_min_ir_version_for, make_opsetid

    imports = [make_opsetid(*entry) for entry in model.opset_imports.items()]
    form = find_min_ir_version_for(imports, ignore_unknown=True)
    form = max(form, _FUNCTIONS if model.functions else 0)
    nodes = list(model.graph.all_nodes())
    for node in nodes:
        for name, usual in _USUAL.items():
            if name in node.attributes and node.attributes[name].as_int() == usual:
                del node.attributes[name]
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [out for node in nodes for out in node.outputs]
    newer = any(value.dtype is not None and value.dtype > _BFLOAT16 for value in values)
    if form >= model.ir_version or newer:
        return
    model.ir_version = form
    for entry in (*nodes, *values, model.graph):
        entry.metadata_props.clear()  # which older forms have for the file alone


def lower_opset(path: Path, opset: int) -> None:
    """Rewrite a file in an older opset, and in the form that runtimes of its time can read.

    Args:
        path: a file; weights that lie beside it stay there.
        opset: the version of ONNX's own operators.

    Raises:
        ExportError: the converter knows no way, as for an operator that is newer.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    written = next(one.version for one in model.opset_import if not one.domain)
    try:
        lowered = onnx.version_converter.convert_version(model, opset)
        lowered.ir_version = onnx.helper.find_min_ir_version_for(lowered.opset_import)
        onnx.save(lowered, str(path))
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as failure:  # of C++, of no class of its own
        why = first_line(failure).rpartition("failed: ")[2]
        raise ExportError(
            f"opset={opset}: torch.onnx wrote opset {written}, and ONNX's converter knows no way "
            f"down ({why}); leave opset out, or give {written}"
        ) from None

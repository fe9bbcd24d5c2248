"""Older opsets: ONNX's own converter takes a file down where torch.onnx writes none; their form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnconvert.errors import ExportError, first_line
from bnconvert.verification.files.onnx_nodes import nodes_of

#: Attributes that older versions of an operator do not have, where they say what is usual.
_USUAL = {"noop_with_empty_axes": 0, "allowzero": 0, "start": 0}
#: Operators of which ONNX's converter knows no way down, and since which opset they are what they
#: are, but for further types, and for inputs and attributes that came later.
_SAME_SINCE = {
    **{"Pad": 13, "Split": 13, "Relu": 6, "Reshape": 5, "Shape": 1, "Identity": 1, "CumSum": 11},
    **{"Add": 7, "Sub": 7, "Mul": 7, "Div": 7, "Pow": 12},
}
_CAME_LATER = {"num_outputs", "start", "end", "allowzero"}
_PAD_INPUTS = 3  # before it had axes
_ELSEWHERE = "as.they.were"  # a domain that the converter does not look into
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
    kept = [node for node in nodes_of(model.graph) if _is_as_it_was(node, opset)]
    try:
        lowered = _converted(model, kept, opset)
        lowered.ir_version = onnx.helper.find_min_ir_version_for(lowered.opset_import)
        onnx.save(lowered, str(path))
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as failure:  # of C++, of no class of its own
        why = first_line(failure).rpartition("failed: ")[2]
        raise ExportError(
            f"opset={opset}: torch.onnx wrote opset {written}, and ONNX's converter knows no way "
            f"down ({why}); leave opset out, or give {written}"
        ) from None


def _is_as_it_was(node: Any, opset: int) -> bool:
    """Tell whether a node has the same form in an older opset, without the converter's knowing."""
    if node.domain or opset < _SAME_SINCE.get(node.op_type, opset + 1):
        return False
    if node.op_type == "Pad" and len(node.input) > _PAD_INPUTS:
        return False
    return all(a.name not in _CAME_LATER and a.s != b"wrap" for a in node.attribute)


def _converted(model: Any, kept: Sequence[Any], opset: int) -> Any:
    """Convert a model but for some nodes, which stay as they are."""
    import onnx

    for node in kept:
        node.domain = _ELSEWHERE
    if kept:
        model.opset_import.append(onnx.helper.make_opsetid(_ELSEWHERE, 1))
    lowered = onnx.version_converter.convert_version(model, opset)
    for node in nodes_of(lowered.graph):
        node.domain = "" if node.domain == _ELSEWHERE else node.domain
    imports = [entry for entry in lowered.opset_import if entry.domain != _ELSEWHERE]
    del lowered.opset_import[:]
    lowered.opset_import.extend(imports)
    return lowered

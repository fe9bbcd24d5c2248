"""Older opsets: torch.onnx writes 18 and later, and ONNX's own converter takes a file down."""

from pathlib import Path

from bnconvert.errors import ExportError, first_line
from bnconvert.exporting.onnx_nodes import nodes_of

#: Attributes that older versions of an operator do not have, where they say what is usual.
_USUAL = {"noop_with_empty_axes": 0}


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
    for node in nodes_of(model.graph):
        kept = [a for a in node.attribute if a.name not in _USUAL or a.i != _USUAL[a.name]]
        del node.attribute[:]
        node.attribute.extend(kept)
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

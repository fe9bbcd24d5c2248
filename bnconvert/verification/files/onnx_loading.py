"""Load an ONNX file into a runtime; where that fails, say what to do next."""

import re
from pathlib import Path

from bnconvert.errors import ExportError, first_line
from bnconvert.verification.files.onnx_precision import precision_of
from bnconvert.verification.files.onnx_runtime import Runtime, Session
from bnconvert.verification.rounding.lowered_precision import BFLOAT16

#: Words in ONNX Runtime's message when it cannot load a file, and what to do then.
_NEXT_STEPS = (
    (
        "IR version",
        "upgrade onnxruntime, or lower ir_version in the file where it uses nothing newer",
    ),
    (
        "official released onnx opset",
        "upgrade onnxruntime, or export with an opset_version that it names, or convert the file "
        "with onnx.version_converter",
    ),
    (
        "Could not find an implementation",
        "export model.float(), without autocast in its forward, where it lacks a kernel",
    ),
    ("is not a registered function/op", "the operator is custom: export without it"),
    ("No Op registered", "no opset of the file has the operator: export with a newer opset"),
    ("External data path", "put the file's weights (*.data) into the same folder"),
    (
        "External initializer",
        "its file of weights (*.data) is cut off: copy it again",
    ),
    ("external tensors", "sizes lie beside the file too: save it with size_threshold=1024"),
    ("ShapeInferenceError", "the operator that is named gets a wrong shape: export again"),
    ("parsing failed", "it is not an ONNX file, or a damaged one: export again"),
    ("No graph was found", "it is empty: export again"),
)
#: What to do where a file computes in bfloat16.
WITHOUT_BFLOAT16 = (
    "ONNX Runtime's CPU computes nothing in bfloat16: export model.float(), without autocast in "
    "its forward, which has the same weights; with dtype=torch.float16 (--half) in half precision"
)
_SIGNATURE = re.compile(r"/\S+\.(?:cc|h):\d+ [\w:<>&,*~ ]*\([^()]*\)(?: const)? ")
_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")


def loaded(path: Path, content: bytes | None, unoptimized: bool, runtime: Runtime) -> Session:
    """Load a file into a runtime.

    Args:
        path: the file.
        content: read this instead of what is in the file.
        unoptimized: run every operator as it is in the file, without graph optimizations.
        runtime: what runs it.

    Raises:
        ExportError: the runtime cannot load it; the message ends with what to do.
    """
    try:
        return runtime.session(path, content, unoptimized=unoptimized)
    except ExportError:
        raise
    except Exception as failure:
        steps = [step for words, step in _NEXT_STEPS if words in str(failure)]
        if steps and precision_of(path) is BFLOAT16:
            steps = [WITHOUT_BFLOAT16]
        title = "OpenVINO" if runtime.name == "openvino" else "ONNX Runtime"
        raise ExportError(
            f"{path.name}: {title} cannot load it ({message_of(failure)}); "
            f"{next(iter(steps), 'export it again, or upgrade onnxruntime')}"
        ) from failure


def message_of(failure: Exception) -> str:
    """Return ONNX Runtime's message without its error code and C++ signatures."""
    sentence = _SIGNATURE.sub("", _CODE.sub("", str(failure)))
    return first_line(type(failure)(sentence))

"""The runtimes that run a file: ONNX Runtime with any of its providers, and OpenVINO.

Another one needs a class with the three methods of `Session`, and a name in `Runtime.session`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from bnconvert.errors import ExportError

_CPU = "CPUExecutionProvider"
_NAMES = ("onnxruntime", "openvino")
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
#: OpenVINO's names of dtypes, and ONNX Runtime's.
_TYPES = {"f32": "float", "f64": "double", "f16": "float16", "bf16": "bfloat16", "i64": "int64",
          "i32": "int32", "i16": "int16", "i8": "int8", "u8": "uint8",
          "boolean": "bool"}  # fmt: skip


class Session(Protocol):
    """A loaded file, as ONNX Runtime's own session is."""

    def get_inputs(self) -> Sequence[Any]:
        """Return what describes each input: `name`, `shape`, `type`."""

    def get_outputs(self) -> Sequence[Any]:
        """Return what describes each output."""

    def run(self, names: Sequence[str] | None, feed: Mapping[str, Any]) -> Sequence[Any]:
        """Return the outputs, all or those named, as arrays."""


@dataclass(frozen=True)
class Runtime:
    """What runs a file.

    Attributes:
        name: "onnxruntime" or "openvino".
        providers: of ONNX Runtime, in the order of preference; empty for its CPU.
    """

    name: str = "onnxruntime"
    providers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Require what there is.

        Raises:
            ExportError: there is no such runtime, or it has no such provider here.
        """
        if self.name not in _NAMES:
            raise ExportError(f"runtime={self.name!r}: is not known; give {' or '.join(_NAMES)}")
        if self.name != "onnxruntime" and self.providers:
            raise ExportError(
                f"providers: are ONNX Runtime's, not those of {self.name}; leave one of both out"
            )
        if self.providers:
            import onnxruntime

            there = onnxruntime.get_available_providers()
            missing = [name for name in self.providers if name not in there]
            if missing:
                raise ExportError(
                    f"providers: {', '.join(missing)} is not in this onnxruntime, which has "
                    f"{', '.join(there)}; give one of these, or install the package that has it"
                )

    def session(self, path: Path, content: bytes | None, *, unoptimized: bool) -> Session:
        """Load a file; errors of the runtime pass through.

        Args:
            path: the file.
            content: read this instead of what is in the file.
            unoptimized: run every operator as it is in the file.

        Raises:
            ExportError: OpenVINO is not installed, or is asked to optimize nothing.
        """
        if self.name == "openvino":
            if unoptimized:
                raise ExportError(f"{path.name}: OpenVINO always optimizes")
            return OpenVinoSession(path)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is in the exception
        options.intra_op_num_threads = torch.get_num_threads()  # who limits one means both
        if unoptimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            # nor copy weights into the layout of fast products, which takes longer than few runs
            options.add_session_config_entry("session.disable_prepacking", "1")
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(path.parent.absolute()))
        source = str(path) if content is None else content
        session: Session = onnxruntime.InferenceSession(
            source, options, providers=list(self.providers or (_CPU,))
        )
        return session


@dataclass(frozen=True)
class _Port:
    name: str
    shape: Sequence[int | None]
    type: str


class OpenVinoSession:
    """A file in OpenVINO on the CPU, in float32 also where the processor knows less."""

    def __init__(self, path: Path) -> None:
        """Compile the file.

        Raises:
            ExportError: OpenVINO is not installed.
        """
        try:
            import openvino
        except ImportError as failure:
            raise ExportError(
                f"openvino cannot be imported ({failure}); pip install openvino"
            ) from None
        core = openvino.Core()
        precise = {"INFERENCE_PRECISION_HINT": "f32"}
        self._model = core.compile_model(core.read_model(str(path)), "CPU", precise)

    def get_inputs(self) -> Sequence[_Port]:
        """Return what describes each input."""
        return [_port(value) for value in self._model.inputs]

    def get_outputs(self) -> Sequence[_Port]:
        """Return what describes each output."""
        return [_port(value) for value in self._model.outputs]

    def run(self, names: Sequence[str] | None, feed: Mapping[str, Any]) -> Sequence[Any]:
        """Return the outputs, all or those named."""
        results = self._model(dict(feed))
        arrays = [results[value].copy() for value in self._model.outputs]
        if names is None:
            return arrays
        own = [port.name for port in self.get_outputs()]
        return [arrays[own.index(name)] for name in names]


def _port(value: Any) -> _Port:
    sizes = [axis.get_length() if axis.is_static else None for axis in value.get_partial_shape()]
    kind = value.get_element_type().get_type_name()
    return _Port(value.get_any_name(), sizes, f"tensor({_TYPES.get(kind, kind)})")

"""Run an ONNX file in ONNX Runtime on the CPU: tensors in, by name or order, and tensors out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bnconvert.errors import ExportError
from bnconvert.graphs.example import Example, NamedTensor
from bnconvert.verification.complex_numbers import in_real_numbers
from bnconvert.verification.files.input_shapes import misfit
from bnconvert.verification.files.onnx_loading import loaded, message_of
from bnconvert.verification.files.onnx_runtime import Runtime

ONNX_RUNTIME = Runtime()  # on the CPU
_DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
    "tensor(float16)": torch.float16,
    "tensor(bfloat16)": torch.bfloat16,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(int16)": torch.int16,
    "tensor(int8)": torch.int8,
    "tensor(uint8)": torch.uint8,
    "tensor(bool)": torch.bool,
}
_INSIDE = "Non-zero status code returned while running"  # a kernel fails, on inputs that fit


@dataclass(frozen=True, eq=False)
class Feed:
    """Tensors for the inputs of a file.

    Attributes:
        tensors: by the names of the inputs.
        given: which of the given tensors each one is, by its place.
        notes: what had to be done to fit them to the file, in words.
        casts: whether one had to be cast: the file is in another precision than the model.
    """

    tensors: dict[str, Tensor]
    given: dict[str, int]
    notes: tuple[str, ...] = ()
    casts: bool = False


class OnnxRunner:
    """An ONNX file in ONNX Runtime on the CPU.

    Attributes:
        name: the file's name, for messages.
    """

    def __init__(
        self,
        path: Path,
        *,
        unoptimized: bool = False,
        content: bytes | None = None,
        runtime: Runtime = ONNX_RUNTIME,
    ) -> None:
        """Load the file.

        Args:
            path: the file; weights may be in another file in the same folder.
            unoptimized: run every operator as it is in the file, without graph optimizations.
            content: read this instead of what is in the file.
            runtime: what runs it.

        Raises:
            ExportError: the runtime cannot load it, for example because it has no kernel.
        """
        self.name = path.name
        self._session = loaded(path, content, unoptimized, runtime)

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs, in order."""
        return [value.name for value in self._session.get_inputs()]

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs, in order."""
        return [value.name for value in self._session.get_outputs()]

    @property
    def output_sizes(self) -> dict[str, int]:
        """How many numbers each output that is a tensor has; an unknown axis counts as 1."""
        return {
            value.name: int(np.prod([size for size in value.shape if isinstance(size, int)]))
            for value in self._session.get_outputs()
            if value.type in _DTYPES
        }

    def shape_of(self, name: str) -> list[int | str | None]:
        """Return an input's sizes; of an axis that may have any, its symbol, or None."""
        (shape,) = (v.shape for v in self._session.get_inputs() if v.name == name)
        return list(shape)

    def dtype_of(self, name: str) -> torch.dtype:
        """Return an input's dtype."""
        (kind,) = (v.type for v in self._session.get_inputs() if v.name == name)
        return _DTYPES.get(kind, torch.float32)

    def first_axis(self, name: str) -> int | None:
        """Return the fixed size of an input's first axis; None where it may have any."""
        shape = self.shape_of(name)
        return shape[0] if shape and isinstance(shape[0], int) else None

    def feed(self, tensors: Sequence[NamedTensor]) -> Feed:
        """Give each of the file's inputs its tensor: by name, and the rest in order.

        Raises:
            ExportError: there are too few or too many, or one is an integer instead of a float.
        """
        names = self.input_names
        by_name = {name: place for place, (name, _) in enumerate(tensors) if name in names}
        left = [place for place, (name, _) in enumerate(tensors) if name not in by_name]
        open_names = [name for name in names if name not in by_name]
        if open_names and len(open_names) != len(left):
            raise ExportError(
                f"{self.name}: has inputs {', '.join(names)}, and {len(tensors)} tensors were "
                "given; give one tensor for each"
            )
        notes: list[str] = []
        if left and not open_names:
            notes.append(f"{len(left)} of the model's inputs are not in the file and were left out")
        places = by_name | dict(zip(open_names, left, strict=False))
        given = {name: tensors[place][1] for name, place in places.items()}
        fitted = {name: self._cast(name, given[name]) for name in names}
        cast = [name for name in names if fitted[name] is not given[name]]
        notes += [
            f"input {name} is {fitted[name].dtype} in the file, and {given[name].dtype} was cast "
            "to it"
            for name in cast
        ]
        return Feed(fitted, places, tuple(notes), bool(cast))

    def fixed_batch(self, given: Sequence[NamedTensor], example: Example) -> int | None:
        """Return the batch size that the file fixes; None where it may have any.

        Where the file does not take the inputs it is None as well: to run it says why.

        Args:
            given: inputs, by name.
            example: the same, and which of them have a batch axis.
        """
        try:
            fed = self.feed(given).tensors.items()
        except ExportError:
            return None
        sizes = (self.first_axis(name) for name, tensor in fed if example.is_batched(tensor))
        return next((size for size in sizes if size is not None), None)

    def run(self, feed: Feed, names: Sequence[str] | None = None) -> list[Tensor] | str:
        """Run the file; return its outputs, all or those named, or why a kernel fails.

        Raises:
            ExportError: the inputs do not fit the file.
        """
        inputs = feed.tensors
        try:
            arrays = {name: t.detach().cpu().contiguous().numpy() for name, t in inputs.items()}
            outputs = self._session.run(names, arrays)
        except Exception as failure:
            if _INSIDE in str(failure):
                return f"ONNX Runtime cannot run it: {message_of(failure)}"
            shapes = {name: self.shape_of(name) for name in inputs}
            raise misfit(self.name, inputs, shapes, message_of(failure)) from failure
        return [torch.from_numpy(np.asarray(output)) for output in outputs]

    def _cast(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor in the dtype of the file's input; refuse integers for floats."""
        (kind,) = (value.type for value in self._session.get_inputs() if value.name == name)
        if kind == "tensor(bfloat16)":
            raise ExportError(
                f"{self.name}: its input {name} is bfloat16, which NumPy has no arrays of; "
                "let the file cast from float32 itself"
            )
        dtype = _DTYPES.get(kind, tensor.dtype)
        if dtype is tensor.dtype:
            return tensor
        tensor = in_real_numbers(tensor)
        if dtype.is_floating_point is not tensor.dtype.is_floating_point:
            raise ExportError(
                f"{self.name}: input {name} is {dtype}, and {tensor.dtype} was given; give it as "
                f"{dtype}, and several tensors in the order of the file's inputs, or by their names"
            )
        return tensor.to(dtype)

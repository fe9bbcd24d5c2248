"""The form of an ONNX file: its opset, its precision, and its inputs' and outputs' names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bnconvert.errors import ExportError

_ATTENTION = 23  # the first opset with an operator for it
_OLDEST = 7  # the first opset that ONNX Runtime has operators of


@dataclass(frozen=True)
class OnnxForm:
    """The form that a file is to have.

    Attributes:
        opset: its version of ONNX's own operators; None for what torch.onnx writes by itself.
        inputs: the names of its inputs, in their order; empty for the forward's parameters.
        outputs: the names of its outputs, in their order; empty for its output's keys.
        half: whether it is rewritten to compute in float16.
    """

    opset: int | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    half: bool = False

    @classmethod
    def of(
        cls,
        opset: int | None,
        inputs: Sequence[str] | None,
        outputs: Sequence[str] | None,
        dtype: torch.dtype | None = None,
    ) -> "OnnxForm":
        """Take what a user asks for.

        Raises:
            ExportError: a name is empty, is given twice, or is an input's and an output's; a string
                stands in the place of a list; the dtype is not float16; or the opset is none that
                ONNX Runtime runs.
        """
        for argument, given in (("input_names", inputs), ("output_names", outputs)):
            if isinstance(given, str):
                raise ExportError(f"{argument}: {given!r} is one name; give a list: [{given!r}]")
        names = [*(inputs or ()), *(outputs or ())]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ExportError(
                f"input_names and output_names: {twice!r} is there twice; every input and output "
                "of a file needs a name of its own"
            )
        if not all(names):
            raise ExportError("input_names and output_names: one is empty; give a name for each")
        if dtype not in (None, torch.float16):
            raise ExportError(
                f"dtype={dtype}: a file can be rewritten in torch.float16; give that, or leave it "
                "out for the model's own"
            )
        if opset is not None and not (isinstance(opset, int) and opset >= _OLDEST):
            raise ExportError(
                f"opset={opset!r}: is no opset that ONNX Runtime runs; give a number from {_OLDEST}"
            )
        return cls(opset, tuple(inputs or ()), tuple(outputs or ()), dtype is not None)

    @property
    def has_attention(self) -> bool:
        """Whether attention is an operator of its opset."""
        return self.opset is not None and self.opset >= _ATTENTION

    def is_older_than(self, written: Any) -> bool:
        """Tell whether an older opset is asked for than the exporter wrote."""
        return self.opset is not None and isinstance(written, int) and self.opset < written

    def require_opset(self, written: Any) -> None:
        """Require that a file is in the opset that was asked for.

        Args:
            written: the opset that the exporter wrote.

        Raises:
            ExportError: it wrote another one, because it knows no way to the one asked for.
        """
        if self.opset is not None and written != self.opset:
            raise ExportError(
                f"opset={self.opset}: torch.onnx cannot write this model in it, and wrote opset "
                f"{written}; leave opset out, or give {written}"
            )

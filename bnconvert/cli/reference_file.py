"""A file in the place of MODEL: `verify REFERENCE.onnx CANDIDATE.onnx`, and its example inputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnconvert.cli.example_inputs import is_archive, random_tensor
from bnconvert.cli.options import MODELS
from bnconvert.cli.values import PROGRAM, model_or_program
from bnconvert.errors import LoadError

if TYPE_CHECKING:
    from torch import Tensor

    from bnconvert.graphs.example import Inputs
    from bnconvert.verification.files.onnx_runner import OnnxRunner

_BATCH = 4  # rows of an input whose first axis may have any size


def is_file(text: str) -> bool:
    """Tell whether a MODEL is an ONNX file."""
    return text.endswith(".onnx")


def model_or_file(text: str) -> str:
    """Return a MODEL that has both its parts, or the path of a program or ONNX file.

    Raises:
        UsageError: it is neither.
    """
    return text if is_file(text) else model_or_program(text)


ModelOrFile = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        callback=model_or_file,
        help=f"{MODELS}; a program{PROGRAM} of torch.export.save; or the ONNX file "
        "REFERENCE.onnx that FILE was made from.",
    ),
]


def file_inputs(path: Path, texts: Sequence[str] | None) -> "Inputs":
    """Return example inputs for a file: from --input, else random ones of its own shapes.

    Raises:
        LoadError: there is no such file, or one of its axes may have any size.
    """
    if texts is not None and is_archive(texts):
        from bnconvert.exporting.failure_bundle import read_bundle

        return read_bundle(Path(texts[0]))
    if not path.is_file():
        raise LoadError(f"{path}: there is no such file; give the file to compare with")
    from bnconvert.verification.files.onnx_runner import OnnxRunner

    file = OnnxRunner(path)
    if texts:
        tensors = [random_tensor(text) for text in texts]
        if len(tensors) > len(file.input_names):
            raise LoadError(
                f"{path}: takes {', '.join(file.input_names)}, and {len(tensors)} inputs were "
                "given; give one --input for each"
            )
        return {name or file.input_names[place]: t for place, (name, t) in enumerate(tensors)}
    return {name: _random(path, file, name) for name in file.input_names}


def _random(path: Path, file: "OnnxRunner", name: str) -> "Tensor":
    """Return random numbers of the shape that a file's input has."""
    first, *rest = file.shape_of(name) or [1]
    sizes = [first if isinstance(first, int) else _BATCH, *rest]
    if not all(isinstance(size, int) for size in sizes):
        listed = ", ".join(map(str, file.shape_of(name)))
        raise LoadError(
            f"{path}: its input {name} may have any size ({listed}); give one: "
            f"--input {name}:1,3,224,224"
        )
    dtype = str(file.dtype_of(name)).removeprefix("torch.")
    _, tensor = random_tensor(f"{','.join(map(str, sizes))}:{dtype}")
    made: Tensor = tensor
    return made

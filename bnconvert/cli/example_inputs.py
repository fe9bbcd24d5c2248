"""--input: example inputs from shapes, names and archives."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnconvert.cli.values import shape_of
from bnconvert.errors import LoadError, UsageError, first_line

if TYPE_CHECKING:
    from torch import nn

    from bnconvert.exporting.input_choice import Preprocess
    from bnconvert.graphs.example import Inputs

_PIXELS = 256  # values of a uint8


def example_inputs(model: "nn.Module", texts: Sequence[str]) -> "Inputs":
    """Make example inputs from the texts of --input, by position or by name."""
    if is_archive(texts):
        from bnconvert.exporting.failure_bundle import read_bundle

        return read_bundle(Path(texts[0]))
    named = [random_tensor(text) for text in texts]
    if not any(name for name, _ in named):
        return tuple(tensor for _, tensor in named)
    parameters = inspect.signature(model.forward).parameters
    known = list(parameters)
    gathers = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, _ in named:
        if not name or (name not in known and not gathers):
            raise LoadError(
                f"--input {name or '(without a name)'}: the model's forward takes "
                f"{', '.join(known)}; name one of these"
            )
        if [other for other, _ in named].count(name) > 1:
            raise UsageError(f"--input {name}: is given twice; give each input once")
    return dict(named)


def is_archive(texts: Sequence[str] | None) -> bool:
    """Tell whether --input names the archive that a verification left."""
    return texts is not None and len(texts) == 1 and texts[0].endswith(".zip")


def raw_example(model: "nn.Module", inputs: "Inputs", preprocess: "Preprocess") -> "Inputs":
    """Turn random numbers around 0 into raw ones around the mean, such as pixels."""
    from bnconvert.exporting.input_choice import raw_inputs
    from bnconvert.graphs.example import Example
    from bnconvert.verification.raw_inputs import denormalized

    example = Example.of(inputs)
    return denormalized(example, raw_inputs(model, example, preprocess), generator())


def random_tensor(text: str) -> tuple[str, Any]:
    """Return the name (or an empty one) and the random tensor that a text of --input describes."""
    import torch

    name, shape, written = shape_of(text)
    dtype = getattr(torch, written, None)
    if not isinstance(dtype, torch.dtype):
        raise UsageError(
            f"--input {text}: there is no dtype {written}, so that this is not a shape; write "
            "1,3,224,224 or x:1,3,224,224 or ids:1,16:int64"
        )
    try:
        if dtype.is_floating_point:
            return name, torch.randn(shape, generator=generator(), device="cpu").to(dtype)
        values = _PIXELS if dtype is torch.uint8 else 2  # indices may have few values
        return name, torch.randint(values, shape, generator=generator(), device="cpu").to(dtype)
    except (RuntimeError, TypeError, MemoryError) as failure:
        raise UsageError(
            f"--input {text}: cannot be made ({first_line(failure)}); give another shape or dtype"
        ) from None


def generator() -> Any:
    """Return a generator that always draws the same."""
    import torch

    return torch.Generator().manual_seed(0)

"""Why a file does not take inputs, by the shapes that it was exported for."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from bnconvert.errors import ExportError

#: The sizes of an input of a file; of an axis that may have any, its name, or None.
Sizes = Sequence[int | str | None]
_REMEDY = "give inputs of the shapes that it was exported for"
_IMAGE = 4  # axes


def misfit(
    file: str, inputs: Mapping[str, Tensor], shapes: Mapping[str, Sizes], said: str
) -> ExportError:
    """Return the error that says which input a file does not take, and what to do.

    Args:
        file: its name.
        inputs: those that it was given, by name.
        shapes: those that it has.
        said: why it does not take them, as the runtime has it.
    """
    for name, tensor in inputs.items():
        own, given = shapes.get(name, ()), tuple(tensor.shape)
        if own and not _fits(given, own):
            remedy = _REMEDY
            if len(own) == _IMAGE and _fits((given[0], *given[2:], given[1]), own):
                remedy = (
                    "its channels are the last axis: compare it with a model whose forward begins "
                    f"with {name}.permute(0, 3, 1, 2), and give it such inputs"
                )
            return ExportError(
                f"{file}: its input {name} is {_written(own)}, and {_written(given)} was given; "
                f"{remedy}"
            )
    given_shapes = ", ".join(f"{name} {_written(t.shape)}" for name, t in inputs.items())
    return ExportError(f"{file}: does not take inputs of shape {given_shapes} ({said}); {_REMEDY}")


def _fits(given: Sequence[int], own: Sizes) -> bool:
    if len(given) != len(own):
        return False
    pairs = zip(given, own, strict=True)
    return all(size == one or not isinstance(one, int) for size, one in pairs)


def _written(sizes: Sizes) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in sizes)})"

"""--dynamic: which axes of the inputs may have any size, by name."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnconvert.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bnconvert.graphs.example import Inputs

FORM = "write batch,height,width, or AXIS=NAME as 2=height, or INPUT:AXIS=NAME as ids:1=tokens"
_BATCH = "batch"
#: By the name of an axis and the number of an input's axes, which one it is.
_KNOWN = {
    "length": {2: 1, 3: 2},
    "height": {4: 2, 5: 3},
    "width": {4: 3, 5: 4},
    "depth": {5: 2},
}
_IMAGES = (4, 5)  # axes, with those of a batch and of colours
_COLOURS = (1, 3, 4)
_NAMES = (_BATCH, *_KNOWN)
_WORD = re.compile(r"(?:(?P<axis>-?\d+)=)?(?P<name>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class DynamicAxis:
    """What one word of --dynamic says.

    Attributes:
        text: the word as it was given.
        input: the name of the input that it is about; "" for every input that has such an axis.
        axis: which one; None for the one that is usually called so.
        name: what the axis is called.
    """

    text: str
    input: str
    axis: int | None
    name: str

    def place(self, tensor: "Tensor", *, batched: bool) -> int | None:
        """Return which axis of an input is meant, or None where it has none."""
        if self.axis is not None:
            known = -tensor.dim() <= self.axis < tensor.dim()
            return self.axis % tensor.dim() if known else None
        if self.name == _BATCH:
            return 0 if batched else None
        usual = _KNOWN[self.name].get(tensor.dim())
        return usual - 1 if usual is not None and _has_channels_last(tensor) else usual


def _has_channels_last(tensor: "Tensor") -> bool:
    """Tell whether an input is an image whose colours are its last axis, as cameras give it."""
    if tensor.dim() not in _IMAGES:
        return False
    return tensor.shape[-1] in _COLOURS and tensor.shape[1] not in _COLOURS


def dynamic_axes(texts: Sequence[str] | None) -> list[str] | None:
    """Return the texts of --dynamic, which can be read.

    Raises:
        UsageError: one cannot.
    """
    [*_parsed(texts or ())]
    return None if texts is None else [*texts]


def dynamic_shapes(model: "nn.Module", inputs: "Inputs", texts: Sequence[str] | None) -> Any:
    """Return dynamic shapes, as `export` takes them, from the texts of --dynamic; None for none.

    Args:
        model: says how its inputs are called.
        inputs: example inputs.
        texts: of the option.

    Raises:
        UsageError: no input has an axis that a text names.
    """
    from bnconvert.graphs.example import Example, named_tensors

    if not texts:
        return None
    example = Example.of(inputs)
    named = named_tensors(model, example)
    found: dict[int, dict[int, str]] = {}
    for word in _parsed(texts):
        chosen = [t for name, t in named if word.input in ("", name)]
        places = {id(t): word.place(t, batched=example.is_batched(t)) for t in chosen}
        if all(place is None for place in places.values()):
            shapes = ", ".join(f"{name} {tuple(t.shape)}" for name, t in named)
            raise UsageError(
                f"--dynamic {word.text}: no input has such an axis ({shapes}); name the input and "
                f"the axis, as {named[0][0] if named else 'x'}:1={word.name}"
            )
        for key, place in places.items():
            if place is not None:
                found.setdefault(key, {})[place] = word.name
    return example.shapes(lambda leaf: found.get(id(leaf)), model)


def _parsed(texts: Sequence[str]) -> Iterator[DynamicAxis]:
    """Yield what the words of the texts say."""
    for text in texts:
        named, colon, rest = text.rpartition(":")
        for word in map(str.strip, rest.split(",")):
            found = _WORD.fullmatch(word)
            if found is None or (colon and not named) or not (found["axis"] or word in _NAMES):
                raise UsageError(f"--dynamic {text}: {word!r} names no axis; {FORM}")
            axis = None if found["axis"] is None else int(found["axis"])
            yield DynamicAxis(text, named, axis, found["name"])

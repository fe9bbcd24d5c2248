"""Objects among inputs and outputs that torch does not look into, and the tensors in them.

Such tensors are no inputs and no outputs of a file: they would be constants, or left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from bnconvert.errors import Refusal

_PLAIN = (Tensor, int, float, bool, str, bytes, type(None))
_DEPTH = 3


def input_obstacle(inputs: Any) -> Refusal | None:
    """Return why inputs cannot be the inputs of a file, or None."""
    kind = _opaque_kind(inputs)
    if kind is None:
        return None
    return Refusal(
        "hidden-tensors",
        f"its input is a {kind.__name__}, whose tensors torch does not see",
        f"{_registering(kind)}give them in a tuple, list or dict",
    )


def output_obstacle(output: Any) -> Refusal | None:
    """Return why an output cannot be the tensors of a file, or None."""
    kind = _opaque_kind(output)
    if kind is not None:
        return Refusal(
            "hidden-tensors",
            f"its forward returns a {kind.__name__}, whose tensors torch does not see",
            f"{_registering(kind)}return them in a tuple, list or dict",
        )
    if any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(output)):
        return None
    return Refusal(
        "no-tensor", "its forward returns no tensor", "return what the file should compute"
    )


def _opaque_kind(values: Any) -> type | None:
    """Return the class of the first object that holds tensors where torch does not look."""
    leaves = (leaf for leaf in pytree.tree_leaves(values) if not isinstance(leaf, _PLAIN))
    return next((type(leaf) for leaf in leaves if _holds_tensors(leaf, _DEPTH)), None)


def _registering(kind: type) -> str:
    once = f"call torch.export.register_dataclass({kind.__name__}) before, or "
    return once if is_dataclass(kind) else ""


def _holds_tensors(value: Any, depth: int) -> bool:
    if isinstance(value, Tensor):
        return True
    return depth > 0 and any(_holds_tensors(inner, depth - 1) for inner in _parts(value))


def _parts(value: Any) -> Iterator[Any]:
    """Yield what an object holds: its items and its attributes. Iterators are not read."""
    if isinstance(value, type):
        return
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    yield from getattr(value, "__dict__", {}).values()
    for kind in type(value).__mro__:
        names = vars(kind).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            yield getattr(value, name, None)

"""Sizes that are symbols, as dynamic ones of a captured graph are: what is known of them.

Stands in for public ways to compare them without a new guard, and to read the example's value.
Known to work since torch 2.10.
"""

from collections.abc import Sequence
from typing import Any

from torch.fx.experimental.symbolic_shapes import statically_known_true


def holds_always(condition: Any) -> bool:
    """Tell whether a comparison of sizes is true whatever the dynamic ones turn out to be."""
    return bool(statically_known_true(condition))


def are_same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Tell whether two shapes are the same whatever the dynamic sizes turn out to be."""
    if len(first) != len(second):
        return False
    return all(holds_always(one == other) for one, other in zip(first, second, strict=True))


def example_value(size: Any) -> int:
    """Return a size; a dynamic one as it was in the example that the graph was captured with."""
    symbol = getattr(size, "node", None)
    return int(size) if symbol is None else int(symbol.hint)

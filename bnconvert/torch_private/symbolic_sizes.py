"""Sizes that are symbols, as dynamic ones of a captured graph are: what is known of them.

Stands in for public ways to compare them without a new guard, and to read the example's value.
Known to work since torch 2.10.
"""

from typing import Any

from torch.fx.experimental.symbolic_shapes import statically_known_true


def holds_always(condition: Any) -> bool:
    """Tell whether a comparison of sizes is true whatever the dynamic ones turn out to be."""
    return bool(statically_known_true(condition))


def example_value(size: Any) -> int:
    """Return a size; a dynamic one as it was in the example that the graph was captured with."""
    symbol = getattr(size, "node", None)
    return int(size) if symbol is None else int(symbol.hint)

"""onnxscript's rules that match several results, tried only at nodes where they may match.

`torch.onnx.export` simplifies a file by rules. A rule with two results (two slices that are one
split) lists all nodes of the graph before it looks at the one that it is tried at, which is every
one: with 2,500 norms that took a third of an export.
"""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def tried_where_they_may_match() -> Iterator[None]:
    """Let each rule look first at the node that it is tried at; it matches what it matched."""
    from onnxscript.rewriter.pattern import MatchResult, SimplePatternMatcher

    match = SimplePatternMatcher.match

    def looking_first(self: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        first, *others = self.pattern.output_nodes
        looked = MatchResult()
        if others and not first.matches(node, looked):
            return looked
        return match(self, model, graph, node, **options)

    SimplePatternMatcher.match = looking_first  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        SimplePatternMatcher.match = match  # type: ignore[method-assign]

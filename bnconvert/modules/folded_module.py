"""The module that a folded graph is: for inference, and for the sizes it was captured for."""

from typing import Any

import torch
from torch import fx, nn

from bnconvert.errors import CaptureError, FoldedTrainingError
from bnconvert.torch_private.size_guards import guards_of, in_words, replace_guards


class SizeCheck(nn.Module):
    """Checks the sizes of a graph's inputs, and says which one it was not captured for."""

    def __init__(self, guards: nn.Module) -> None:
        """Wrap what torch has made to check them."""
        super().__init__()
        self.guards = guards

    def forward(self, *inputs: Any) -> None:
        """Check the inputs.

        Raises:
            CaptureError: the model may compute something else than the graph for such inputs.
        """
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]  # torch is untyped
            return  # sizes are tensors then, of which no condition can be computed
        if torch.compiler.is_compiling():
            self.guards(*inputs)  # a compiler traces these, and no handler of exceptions
            return
        try:
            self.guards(*inputs)
        except AssertionError as failure:
            condition = in_words(str(failure).removeprefix("Guard failed: "))
            raise CaptureError(
                f"a folded graph was called with a size that it was not made for: it is what the "
                f"model computes where {condition}; fold the model again with inputs of that size"
            ) from failure


class FoldedModule(fx.GraphModule):
    """A captured model whose norms are folded away: for inference, never for training."""

    def train(self, mode: bool = True) -> "FoldedModule":
        """Refuse training mode.

        Raises:
            FoldedTrainingError: `mode` is true.
        """
        if mode:
            raise FoldedTrainingError
        super().train(False)
        return self

    @classmethod
    def of(cls, graph: fx.GraphModule) -> "FoldedModule":
        """Make one of a captured graph whose norms are folded away."""
        guards = guards_of(graph)
        if guards is not None and not isinstance(guards, SizeCheck):
            replace_guards(graph, SizeCheck(guards))
        return cls(graph, graph.graph)

"""The module that a folded graph is: for inference, never for training."""

from torch import fx

from bnconvert.errors import FoldedTrainingError


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

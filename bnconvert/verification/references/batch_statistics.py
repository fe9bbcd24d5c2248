"""Notice norms that take their statistics from the batch, also functional ones."""

from typing import Any

from torch import Tensor

from bnconvert.torch_private.operator_observer import OperatorObserver
from bnconvert.torch_private.operators import base_name, formals_of

_FLAGS = ("training", "train")


class BatchStatistics(OperatorObserver):
    """A context that notices batch norm with the statistics of several samples.

    Attributes:
        seen: whether there was any. Instance norm, which is batch norm of one sample, is none.
    """

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.seen = False

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator; look at its flag for training if it is batch norm."""
        if "batch_norm" in base_name(operator) and isinstance(args[0], Tensor):
            names = [formal.name for formal in formals_of(operator)]
            given = dict(zip(names, args, strict=False)) | kwargs
            flags = [given[name] for name in _FLAGS if name in given]
            self.seen |= args[0].shape[0] > 1 and any(flags)
        return super().run_operator(operator, args, kwargs)

"""Reference: what a model truly computes, and how far its own dtype is from that."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.examples import Example
from bnconvert.numerics.distance import relative_error
from bnconvert.tracing import first_line

#: A model whose own rounding error is larger proves little: its output is mostly noise.
ILL_CONDITIONED = 1e-3


@dataclass(frozen=True, eq=False)
class Reference:
    """The model's own answers: what is true, and how far its own dtype is from that.

    Attributes:
        model: in eval mode, in its own dtype.
        exact: the same in float64, or None where it cannot run in float64.
        note: why it cannot.
    """

    model: nn.Module
    exact: nn.Module | None
    note: str | None

    @classmethod
    def of(cls, model: nn.Module, example: Example) -> "Reference":
        """Copy the model, in eval mode unless it is already, and once more in float64."""
        own = copy.deepcopy(model)
        if model.training:
            own.eval()
        exact = copy.deepcopy(own).double()
        try:
            outputs_of(exact, example.in_double())
        except Exception as failure:
            note = (
                f"the model does not run in float64 ({first_line(failure)}): the budget is "
                "measured by shaking its inputs by one unit in the last place"
            )
            return cls(own, None, note)
        return cls(own, exact, None)

    def answers(self, example: Example) -> tuple[list[Tensor], list[Tensor]]:
        """Return the true outputs, and outputs that differ from them by rounding only."""
        native = outputs_of(self.model, example)
        if self.exact is not None:
            return outputs_of(self.exact, example.in_double()), native
        return native, outputs_of(self.model, example.shaken())

    def accepts(self, example: Example) -> bool:
        """Tell whether the model itself runs on `example`."""
        try:
            outputs_of(self.model, example)
        except Exception:
            return False
        return True

    def noise(self, example: Example) -> float | None:
        """Return the model's own relative error where agreement with it proves little."""
        true, native = self.answers(example)
        pairs = [(n, t) for n, t in zip(native, true, strict=True) if t.dtype.is_floating_point]
        worst = max((relative_error(n, t, "norm") for n, t in pairs), default=0.0)
        return worst if worst > ILL_CONDITIONED else None


def outputs_of(model: nn.Module, example: Example) -> list[Tensor]:
    """Run the model on a copy of the example; return its tensors in order, on the CPU."""
    with torch.no_grad():
        result = model(*example.map(Tensor.clone).args, **example.map(Tensor.clone).kwargs)
    return [leaf.cpu() for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]

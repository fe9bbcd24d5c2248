"""Reference: what a model truly computes, and how far its own dtype is from that."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.examples import Example
from bnconvert.numerics.distance import MEASURES, Measure, relative_error, rounding_floor
from bnconvert.tracing import first_line

#: How many times the model's own rounding error a file may have. Kernels sum in other orders.
FACTOR = 4.0
#: A model whose own rounding error is larger proves little: its output is mostly noise.
ILL_CONDITIONED = 1e-3


class Answers(NamedTuple):
    """A model's outputs on one input.

    Attributes:
        true: in float64.
        native: in the model's own dtype.
        shaken: the same, on inputs that are moved by one unit in the last place.
    """

    true: list[Tensor]
    native: list[Tensor]
    shaken: list[Tensor]


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

    def answers(self, example: Example) -> Answers:
        """Run the model in float64, in its own dtype, and so on inputs moved by one unit."""
        native = outputs_of(self.model, example)
        shaken = outputs_of(self.model, example.shaken())
        if self.exact is None:
            return Answers(native, native, shaken)
        return Answers(outputs_of(self.exact, example.in_double()), native, shaken)

    def accepts(self, example: Example) -> bool:
        """Tell whether the model itself runs on `example`."""
        try:
            outputs_of(self.model, example)
        except Exception:
            return False
        return True


@dataclass(frozen=True)
class Budget:
    """How far each output may be from the truth: some times the model's own rounding error.

    That error is a random draw, ten times larger for one input than for the next, so the
    largest over all inputs counts.

    Attributes:
        own: the model's own largest error, by output and measure.
        floors: what rounding alone may do in the output's dtype, by output and measure.
    """

    own: Mapping[tuple[int, Measure], float]
    floors: Mapping[tuple[int, Measure], float]

    @classmethod
    def of(cls, answers: Sequence[Answers]) -> "Budget":
        """Measure the model's own error on all inputs."""
        own: dict[tuple[int, Measure], float] = {}
        floors: dict[tuple[int, Measure], float] = {}
        for true, native, shaken in answers:
            for index, truth in enumerate(true):
                for measure in MEASURES:
                    key = index, measure
                    draws = (relative_error(d[index], truth, measure) for d in (native, shaken))
                    own[key] = max(own.get(key, 0.0), *draws)
                    floors[key] = rounding_floor(native[index].dtype, measure)
        return cls(own, floors)

    def allowed(self, index: int, measure: Measure) -> float:
        """Return the largest relative error that an output may have."""
        return FACTOR * self.own[index, measure] + self.floors[index, measure]

    @property
    def noise(self) -> float | None:
        """The model's own error where it is so large that agreement proves little."""
        floating = [e for (i, m), e in self.own.items() if m == "norm" and self.floors[i, m]]
        worst = max(floating, default=0.0)
        return worst if worst > ILL_CONDITIONED else None


def outputs_of(model: nn.Module, example: Example) -> list[Tensor]:
    """Run the model on a copy of the example; return its tensors in order, on the CPU."""
    with torch.no_grad():
        result = model(*example.map(Tensor.clone).args, **example.map(Tensor.clone).kwargs)
    return [leaf.cpu() for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]

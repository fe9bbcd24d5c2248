"""`fold`: capture the eval model and fold every norm away that can be; say why the rest stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from bnconvert.aten import NormCall, called_in, norm_calls, remove_unread
from bnconvert.capturing import Captured, Inputs, capture
from bnconvert.errors import FoldedTrainingError
from bnconvert.folds import FOLDS
from bnconvert.folds.fold import Fold, affine_of, describe, producer_of
from bnconvert.normalization import Normalization
from bnconvert.reporting.report import NormRow, Report
from bnconvert.site import Site
from bnconvert.tracing import survey


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


@dataclass(frozen=True, eq=False)
class Folded:
    """A folded model.

    Attributes:
        module: the folded graph, for inference; takes the model's own inputs.
        report: one row per call of a norm, folded (into what) or standing (why).
        captured: what `module` was made from, for exporting it on.
    """

    module: FoldedModule
    report: Report
    captured: Captured


def fold(model: nn.Module, example_inputs: Inputs, *, dynamic_shapes: Any = None) -> Folded:
    """Fold the batch norms of the eval model into the layers before them.

    The model itself is not changed. All arithmetic is done in float64 and rounded once. What is
    not folded stands in the report with its reason.

    Args:
        model: an eager module.
        example_inputs: a tuple of positional inputs, or a mapping of keyword inputs.
        dynamic_shapes: as for torch.export; by default the batch size may vary.

    Raises:
        CaptureError: the model cannot be captured.
        UnsupportedModelError: the model is wrapped, compiled or scripted.
    """
    captured = capture(model, example_inputs, dynamic_shapes)
    seen = norm_calls(captured.module)
    into: dict[tuple[str, int], str] = {}
    while folds := list(_possible_folds(captured.module)):
        call, layer, producer = folds[0]
        layer.apply(captured.module, call, producer)
        place = f"into {describe(producer)}"
        into[_key(call, seen)] = place
    reasons = {_key(call, seen): _reason(captured.module, call) for call in norm_calls(captured.module)}
    remove_unread(captured.module)
    rows = _rows(model, seen, into, reasons)
    report = Report(f"Folded {type(model).__name__}", norms=tuple(rows), notes=captured.notes)
    return Folded(FoldedModule(captured.module, captured.module.graph), report, captured)

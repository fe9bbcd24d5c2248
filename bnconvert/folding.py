"""`fold`: capture the eval model and fold every norm away that can be; say why the rest stands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from bnconvert.aten import norm_calls, standardizes_weight
from bnconvert.capturing import Captured, capture
from bnconvert.errors import FoldedTrainingError
from bnconvert.examples import Inputs
from bnconvert.folds.fates import Fate, fold_network
from bnconvert.network import Network
from bnconvert.normalization import Normalization
from bnconvert.reporting.records import NormRow
from bnconvert.reporting.report import Report
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
    """Fold the batch norms of the eval model into the layers around them.

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
    weights = sum(standardizes_weight(node) for node in captured.module.graph.nodes)
    calls = norm_calls(captured.module)
    fates = fold_network(Network(captured.module), calls)
    report = Report(
        f"Folded {type(model).__name__}",
        norms=tuple(_rows(model, fates)),
        notes=(*captured.notes, *_standardization(weights)),
    )
    return Folded(FoldedModule(captured.module, captured.module.graph), report, captured)


def _rows(model: nn.Module, fates: Sequence[Fate]) -> Iterator[NormRow]:
    """Return a row per call of every norm module, then those of functional norms."""
    rest = list(fates)
    for site in survey(model).sites:
        mine = [fate for fate in rest if fate.call.owner in site.paths]
        rest = [fate for fate in rest if fate not in mine]
        for number, fate in enumerate(mine, 1):
            said = fate.reason
            if fate.call.caller not in site.paths:
                said = f"called by {fate.call.caller or 'the root'} through F.batch_norm: {said}"
            if len(mine) > 1:
                said = f"call {number} of {len(mine)}: {said}"
            yield _row(site, len(mine), fate.outcome, said, fate.fold)
        if not mine:
            yield _row(site, 0, *_uncalled(site))
    for fate in rest:
        owner = fate.call.owner
        if not isinstance(model.get_submodule(owner), _InstanceNorm):
            yield NormRow(
                owner,
                "F.batch_norm",
                fate.call.channels,
                1,
                fate.outcome,
                fate.reason,
                fold=fate.fold,
            )


def _standardization(count: int) -> Iterator[str]:
    if count:
        yield (
            f"{count} batch norm operators standardize weights, not activations: they are no "
            "norms, and the weights are constants now"
        )


def _row(site: Site, calls: int, outcome: str, reason: str, fold: str = "") -> NormRow:
    return NormRow(
        site.path, site.class_name, site.channels, calls, outcome, reason, site.aliases, fold
    )


def _uncalled(site: Site) -> tuple[str, str]:
    if isinstance(site.module, Normalization) and not site.module.is_batch_norm_in_eval:
        return "standing", f"a {site.class_name} is no fixed affine map in eval mode"
    return "uncalled", "the eval forward never calls it"

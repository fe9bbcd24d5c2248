"""`fold`: capture the eval model and fold every norm away that can be; say why the rest stands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import fx, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from bnconvert.errors import CaptureError, FoldedTrainingError
from bnconvert.examples import Inputs
from bnconvert.findings.folded import folded_findings
from bnconvert.folds.fates import Fate, fold_network
from bnconvert.grafting import graft_rows, grafted
from bnconvert.graphs.aten import NormCall, norm_calls, standardizes_weight
from bnconvert.graphs.capturing import Captured, capture
from bnconvert.graphs.network import Network
from bnconvert.graphs.parts import Part, capture_parts, recapture, with_parts
from bnconvert.graphs.regions import calls_in_regions
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
        module: the folded graph, for inference; takes the model's own inputs. Where the model
            cannot be captured whole: a copy of the model, of its own class, with folded parts.
        report: one row per call of a norm, folded (into what) or standing (why).
        parts: what was captured, and is folded now: the whole model, or some submodules.
    """

    module: nn.Module
    report: Report
    parts: tuple[Part, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the model was captured whole."""
        return not self.parts[0].path

    @property
    def captured(self) -> Captured:
        """What `module` was made from, for exporting it on.

        Raises:
            CaptureError: the model was captured in parts only.
        """
        if not self.is_whole:
            paths = ", ".join(part.path for part in self.parts)
            raise CaptureError(
                f"the model cannot be captured whole, only its parts {paths}; "
                "export one of them, or use the folded module in torch"
            )
        return self.parts[0].captured

    def graft(self, model: nn.Module) -> nn.Module:
        """Return a copy of the model whose own modules are folded: class and names survive.

        Layers get other weights, a norm becomes the identity (or what its class does after the
        norm). What has no form in modules (merged branches, computed weights) stays as it is;
        `graft_report` lists it.

        Args:
            model: the model that was folded; it is not changed.

        Raises:
            UnsupportedModelError: its forward reads something of a norm that is gone.
        """
        return grafted(model, self._again(model))

    def graft_report(self, model: nn.Module) -> Report:
        """Return what `graft` does with each norm, and why the rest stays."""
        rows = graft_rows(model, self._again(model))
        return Report(f"Grafted {type(model).__name__}", norms=rows)

    def _again(self, model: nn.Module) -> list[Part]:
        """Capture anew: these graphs are folded."""
        return [recapture(model, part) for part in self.parts]


def fold(model: nn.Module, example_inputs: Inputs, *, dynamic_shapes: Any = None) -> Folded:
    """Fold the batch norms of the eval model into the layers around them.

    The model itself is not changed. All arithmetic is done in float64 and rounded once. What is
    not folded stands in the report with its reason. A model that torch.export cannot capture
    whole, such as a detector, is folded by its largest parts that it can.

    Args:
        model: an eager module.
        example_inputs: a tuple of positional inputs, or a mapping of keyword inputs.
        dynamic_shapes: as for torch.export; by default the batch size may vary.

    Raises:
        CaptureError: neither the model nor any part of it with norms can be captured.
        UnsupportedModelError: the model is wrapped, compiled or scripted.
    """
    notes: list[str] = []
    try:
        captured = capture(model, example_inputs, dynamic_shapes)
    except CaptureError as failure:
        parts = capture_parts(model, example_inputs)
        if not parts:
            raise
        notes.append(f"folded by parts ({', '.join(p.path for p in parts)}): {failure}")
    else:
        parts = [Part("", captured)]
    fates: list[Fate] = []
    folded: dict[str, nn.Module] = {}
    for part in parts:
        module = part.captured.module
        weights = sum(standardizes_weight(node) for node in module.graph.nodes)
        calls = [_from_the_root(call, part.path) for call in norm_calls(module)]
        inside = [_from_the_root(call, part.path) for call in calls_in_regions(module)]
        fates += fold_network(Network(module), calls)
        fates += [Fate(call, reason=str(call.obstacle)) for call in inside]
        folded[part.path] = FoldedModule(module, module.graph)
        notes += [*part.captured.notes, *_standardization(weights)]
    seen = survey(model)
    sites = seen.sites
    notes += [f"{path}: TorchScript: norms inside are not seen" for path in seen.scripted]
    rows = tuple(_rows(model, sites, fates))
    report = Report(
        f"Folded {type(model).__name__}",
        norms=rows,
        findings=tuple(folded_findings(sites, rows)),
        notes=tuple(notes),
    )
    return Folded(with_parts(model, folded), report, tuple(parts))


def _from_the_root(call: NormCall, path: str) -> NormCall:
    return replace(call, owner=f"{path}.{call.owner}".strip(".")) if path else call


def _rows(model: nn.Module, sites: Sequence[Site], fates: Sequence[Fate]) -> Iterator[NormRow]:
    """Return a row per call of every norm module, then those of functional norms."""
    rest = list(fates)
    for site in sites:
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
    return "uncalled", "the eval forward never calls it, or nothing reads its result"

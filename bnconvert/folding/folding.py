"""`fold`: capture the eval model and fold every norm away that can be; say why the rest stands."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from bnconvert.errors import CaptureError
from bnconvert.folding.fold_report import report_of
from bnconvert.folding.folded_part import FoldedPart
from bnconvert.folding.grafting import graft_rows, grafted
from bnconvert.graphs.capture.capturing import Captured
from bnconvert.graphs.capture.parts import Part, capture_parts, with_parts
from bnconvert.graphs.example import Example, Inputs
from bnconvert.graphs.exported_program import exported_program
from bnconvert.modules.ambient_modes import usual_modes
from bnconvert.modules.digests import digests
from bnconvert.modules.folded_module import FoldedModule
from bnconvert.modules.survey import require_runnable
from bnconvert.reporting.report import Report
from bnconvert.reporting.shown import Shown
from bnconvert.reporting.whole_file import whole_file
from bnconvert.torch_private.one_at_a_time import one_at_a_time


@dataclass(frozen=True, eq=False, repr=False)
class Folded(Shown):
    """A folded model.

    Attributes:
        module: the folded graph, for inference; takes the model's own inputs, and refuses sizes
            for which the model may compute something else. Where the model cannot be captured
            whole: a copy of the model, of its own class, with folded parts.
        report: one row per call of a norm, folded (into what) or standing (why).
        parts: what was captured: the whole model, or some submodules; their graphs are not folded.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval()
        >>> folded = bnc.fold(net, (torch.randn(2, 3, 8, 8),))
        >>> [(row.path, row.outcome, row.reason) for row in folded.report.norms]
        [('1', 'folded', 'into 0 (conv2d)')]
        >>> folded.graft(net)[1]
        Identity()
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
        """The captured model, of which `module` is the folded graph.

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

    def program(self) -> ExportedProgram | None:
        """Return the folded graph as a torch.export program that shares its weights.

        Returns:
            The program; None where the graph holds something that no program takes as it is.

        Raises:
            CaptureError: the model was captured in parts only.

        Examples:
            >>> net, x = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval(), torch.ones(2, 4)
            >>> bnc.fold(net, (x,)).program().module()(x).shape
            torch.Size([2, 4])
        """
        ranges = self.captured.range_constraints
        assert isinstance(self.module, FoldedModule)
        return exported_program(self.module, ranges)

    def save(self, path: str | Path) -> None:
        """Write the folded graph as a torch.export program, whole or not at all.

        `torch.export.load(path).module()` gives it back, without bnconvert; the example inputs
        are in it, so that it is a MODEL of the command line too.

        Args:
            path: the file; by convention it ends in .pt2.

        Raises:
            CaptureError: the model was captured in parts only.
            OutputError: it cannot be written there.

        Examples:
            >>> net, x = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval(), torch.ones(2, 4)
            >>> bnc.fold(net, (x,)).save("net.pt2")
            >>> torch.allclose(torch.export.load("net.pt2").module()(x), net(x), atol=1e-6)
            True
        """
        program = self.program() or self._traced()
        example = self.captured.example
        program.example_inputs = (example.args, example.kwargs)
        with whole_file(Path(path)) as file:
            torch.export.save(program, file)

    def _traced(self) -> ExportedProgram:
        """Export the folded graph anew, where it holds more than operators."""
        captured = self.captured
        args, kwargs = captured.example.args, captured.example.kwargs
        return torch.export.export(
            self.module, args, kwargs, dynamic_shapes=captured.dynamic_shapes
        )

    @one_at_a_time()
    @usual_modes()
    def graft(self, model: nn.Module) -> nn.Module:
        """Return a copy of the model whose own modules are folded: class and names survive.

        Layers get other weights, a norm becomes the identity (or what its class does after the
        norm). What has no form in modules (merged branches, computed weights) stays as it is;
        `graft_report` lists it.

        Args:
            model: the model that was folded; it is not changed.

        Raises:
            UnsupportedModelError: its weights are not those that were folded, or its forward
                reads something that only a norm has.

        Examples:
            >>> net, x = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval(), torch.ones(2, 4)
            >>> bnc.fold(net, (x,)).graft(net)[1]
            Identity()
        """
        return grafted(model, self.parts)

    @one_at_a_time()
    @usual_modes()
    def graft_report(self, model: nn.Module) -> Report:
        """Return what `graft` does with each norm, and why the rest stays.

        Raises:
            UnsupportedModelError: its weights are not those that were folded.

        Examples:
            >>> net, x = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval(), torch.ones(2, 4)
            >>> bnc.fold(net, (x,)).graft_report(net).norms[0].outcome
            'folded'
        """
        return Report(f"Grafted {type(model).__name__}", norms=graft_rows(model, self.parts))


@one_at_a_time()
@usual_modes()
def fold(model: nn.Module, example_inputs: Inputs, *, dynamic_shapes: Any = None) -> Folded:
    """Fold the batch norms of the eval model into the layers around them.

    The model itself is not changed. All arithmetic is done in float64 and rounded once. What is
    not folded stands in the report with its reason. A model that torch.export cannot capture
    whole, such as a detector, is folded by its largest parts that it can; so is one whose forward
    changes a buffer in eval mode, which a graph would hold as a constant.

    Args:
        model: an eager module.
        example_inputs: a tuple of positional inputs, or a mapping of keyword inputs.
        dynamic_shapes: as for `export`; by default the batch size may vary.

    Raises:
        CaptureError: neither the model nor any part of it with norms can be captured.
        UnsupportedModelError: the model is wrapped, compiled or scripted.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval()
        >>> x = torch.randn(2, 3, 8, 8)
        >>> torch.allclose(bnc.fold(net, (x,)).module(x), net(x), atol=1e-5)
        True
    """
    require_runnable(model)
    return _fold_parts(model, *capture_parts(model, Example.of(example_inputs), dynamic_shapes))


def fold_for_file(model: nn.Module, example: Example, dynamic_shapes: Any) -> Folded:
    """Fold as `fold`, but parts of a model only as a tracer may run them: see `capture_parts`.

    Where no values decide sizes, they are those of one forward, which is captured in half the time.
    """
    require_runnable(model)
    return _fold_parts(model, *capture_parts(model, example, dynamic_shapes, any_size=False))


def _fold_parts(model: nn.Module, parts: Sequence[Part], notes: list[str]) -> Folded:
    """Fold what was captured of a model."""
    folded = [FoldedPart.of(part) for part in parts]
    report = replace(report_of(model, folded, notes), digests=digests(model))
    modules = {one.path: one.module for one in folded}
    return Folded(with_parts(model, modules), report, tuple(parts))

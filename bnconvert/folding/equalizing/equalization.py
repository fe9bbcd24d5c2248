"""`equalize`: give the weights of layers in a row like ranges, for one scale for a whole weight."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from torch import nn
from torch.export import ExportedProgram

from bnconvert.errors import CaptureError, UnsupportedModelError
from bnconvert.folding.equalizing.bias_correction import Biases, correct_biases
from bnconvert.folding.equalizing.clipping import Clipping
from bnconvert.folding.equalizing.equalized_graph import equalize_graph
from bnconvert.folding.equalizing.equalized_pair import EqualizedPair
from bnconvert.folding.folding import Folded, fold
from bnconvert.graphs.capture.parts import with_parts
from bnconvert.graphs.exported_program import exported_program
from bnconvert.modules.ambient_modes import usual_modes
from bnconvert.modules.folded_module import FoldedModule
from bnconvert.reporting.records import Finding
from bnconvert.reporting.report import Report
from bnconvert.reporting.shown import Shown
from bnconvert.torch_private.one_at_a_time import one_at_a_time

_LEFT = (
    "quantize per channel; why these layers are as they were stands in their lines of the report"
)


@dataclass(frozen=True, eq=False, repr=False)
class Equalized(Shown):
    """A folded model whose layers are equalized.

    Attributes:
        module: the graph, for inference, as `Folded.module`.
        report: a line for every layer: the spread of its channels before and after, or why it
            stays; the rows of norms are those of the fold.
        pairs: the same for programs.
        folded: what was equalized; it is not changed.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.SiLU(), nn.Conv2d(2, 4, 1)).eval()
        >>> equalized = bnc.equalize(bnc.fold(net, (torch.randn(2, 3, 8, 8),)))
        >>> [(pair.producer, str(pair)) for pair in equalized.pairs]
        [('0 (conv2d)', 'as it was: 1 (silu) reads it'), ...]
    """

    module: nn.Module
    report: Report
    pairs: tuple[EqualizedPair, ...]
    folded: Folded

    def program(self) -> ExportedProgram | None:
        """Return the equalized graph as a torch.export program that shares its weights.

        Returns:
            The program; None where the graph holds something that no program takes as it is.

        Raises:
            CaptureError: the model was captured in parts only.

        Examples:
            >>> net, x = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()).eval(), torch.ones(2, 3, 8, 8)
            >>> program = bnc.equalize(bnc.fold(net, (x,))).program()
            >>> torch.allclose(program.module()(x), net(x), atol=1e-6)
            True
        """
        ranges = self.folded.captured.range_constraints
        assert isinstance(self.module, FoldedModule)
        return exported_program(self.module, ranges)


@one_at_a_time()
@usual_modes()
def equalize(
    folded: Folded | ExportedProgram, *, relu6: Clipping = "keep", biases: Biases = "keep"
) -> Equalized:
    """Equalize the weights of layers in a row, so that one 8-bit scale for a whole weight will do.

    Cross-layer equalization (Nagel et al., "Data-Free Quantization Through Weight Equalization and
    Bias Correction", 2019, section 4.1): output channel i of a layer is divided by a factor, and
    what reads it multiplies by it, so that its range is the same in both weights. That is the same
    function where what lies between is positively homogeneous: ReLU, leaky ReLU, PReLU, pooling,
    concatenation. All arithmetic is in float64 and rounded once; the result is proven against the
    folded graph in float64, on the example inputs.

    What is not equalized is refused with a reason, in `pairs` and in the report. Layers around
    depthwise convolutions are equalized all three. Activations are divided as well: quantize them
    per tensor by ranges measured on the equalized model.

    Args:
        folded: what `fold` returned, or a program of torch.export with example inputs, which is
            folded first.
        relu6: what to do with ReLU6 and other clips of [0, c] between layers, which no scale
            passes. "keep": such layers stay as they are. "per-channel": the bound becomes one per
            channel, after a ReLU: the same function, with one operator more. "relu": the bound is
            left out, which is another function; the report says how far the outputs move.
        biases: "per-tensor" or "per-channel": take back what rounding the weights to 8 bits, with
            one scale or one for each output channel, adds to the outputs of layers on average, as
            the statistics of the folded norms tell it (section 4.2). The network is meant to be
            quantized so then; unrounded it is another function, and the report says how far the
            outputs move.

    Raises:
        CaptureError: a program has no example inputs, or cannot be captured.
        UnsupportedModelError: what is given is neither folded nor a program.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 1)).eval()
        >>> _ = net[0].weight.data[0].mul_(1000)
        >>> equalized = bnc.equalize(bnc.fold(net, (torch.randn(2, 3, 8, 8),)))
        >>> pair = equalized.pairs[0]
        >>> pair.producer, pair.producer_before.spread > 100, pair.producer_after.spread < 100
        ('0 (conv2d)', True, True)
    """
    for name, given, known in (("relu6", relu6, Clipping), ("biases", biases, Biases)):
        if given not in get_args(known):
            raise ValueError(f"{name}={given!r}: is not one of {', '.join(get_args(known))}")
    folded = _as_folded(folded)
    found: list[EqualizedPair] = []
    notes: list[str] = []
    modules: dict[str, nn.Module] = {}
    for part in folded.parts:
        graph = folded.module.get_submodule(part.path)
        assert isinstance(graph, FoldedModule)
        done = equalize_graph(graph, part.captured.example, relu6)
        modules[part.path] = done.module
        found += done.pairs
        notes += done.notes
        if biases != "keep":
            source = part.captured
            corrected = correct_biases(done.module, source.module, source.example, biases)
            modules[part.path] = corrected.module
            notes.append(corrected.note)
    report = Report(
        folded.report.title.replace("Folded", "Equalized", 1),
        norms=folded.report.norms,
        findings=tuple(_findings(folded.report, found)),
        facts={pair.producer: str(pair) for pair in found},
        notes=(*folded.report.notes, *notes),
    )
    return Equalized(with_parts(folded.module, modules), report, tuple(found), folded)


def _findings(report: Report, pairs: Sequence[EqualizedPair]) -> Iterator[Finding]:
    """Yield the findings of a fold; BN405 only for norms that no equalized layer absorbed."""
    mended = {pair.producer for pair in pairs if pair.is_equalized}
    wide = {
        row.path
        for row in report.norms
        if not mended.issuperset(row.reason.removeprefix("into ").split(", "))
    }
    for found in report.findings:
        paths = tuple(path for path in found.paths if found.id != "BN405" or path in wide)
        if paths:
            fix = _LEFT if found.id == "BN405" else found.fix
            yield replace(found, paths=paths, fix=fix)


def _as_folded(given: Folded | ExportedProgram) -> Folded:
    if isinstance(given, Folded):
        return given
    if not isinstance(given, ExportedProgram):
        raise UnsupportedModelError(
            f"a {type(given).__name__} is not folded; fold the model first: "
            "bnc.equalize(bnc.fold(model, inputs))"
        )
    if given.example_inputs is None:
        raise CaptureError(
            "the program has no example inputs, and the proof needs some; fold the model, and "
            "equalize what bnconvert.fold returns"
        )
    args, kwargs = given.example_inputs
    return fold(given.module(), kwargs if kwargs and not args else args)

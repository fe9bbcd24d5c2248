"""Localize where an ONNX file diverges from its model: the first operator whose value is wrong.

Every value of the file is compared with those of the captured model and of the folded graph. An
operator is right if its value is one of them, or if everything computed from it is right: a map
that folding moved is absorbed downstream. The file diverges at an operator with right inputs and
nothing right downstream. Where no value is wrong as a whole, its parts are compared, each by its
own size.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import fx, nn

from bnconvert.errors import first_line
from bnconvert.graphs.aten import called_in
from bnconvert.graphs.example import Example, named_tensors
from bnconvert.numerics.distance import difference, relative_errors
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.reporting.records import Finding
from bnconvert.reporting.report import Report
from bnconvert.verification.comparison import Proof
from bnconvert.verification.files.onnx_graph import OnnxGraph, Operator, graph_of
from bnconvert.verification.finding_ids import DIVERGENCE
from bnconvert.verification.rounding.lowered_precision import Precision
from bnconvert.verification.values.divergence import Divergence, DivergenceSearch
from bnconvert.verification.values.missing_values import (
    is_without_bias,
    unlike_outputs,
    unread_input,
)
from bnconvert.verification.values.operator_mapping import operator_name
from bnconvert.verification.values.value_matching import (
    FileValues,
    ValueMatches,
    in_shape,
    match_values,
)

_FIX = "check the operator's weights, attributes and inputs, and the tool that wrote them"
_FIX_FOLD = (
    "a fold of bnconvert is wrong: please report it with the model; until then use "
    "torch.onnx.export(model)"
)
_ROUNDING = (
    "no single operator of the file diverges from the model by more than rounding, in any channel, "
    "row or group of small values: many small errors add up, or the outputs are in another order"
)


@dataclass(frozen=True, eq=False)
class Graphs:
    """A model as graphs of ATen operators.

    Attributes:
        captured: the eval model as it was captured.
        folded: the same with its norms folded away.
    """

    captured: fx.GraphModule
    folded: fx.GraphModule


#: Gives the graphs of a model, captured for an input of the shapes that are given.
GraphSource = Callable[[Example], Graphs]


def localize(
    proof: Proof, model: nn.Module, path: Path, graphs: GraphSource, say: Callable[[str], None]
) -> Report:
    """Return a proof's report; if the file differs, add the operator where it diverges.

    Args:
        proof: of the file.
        model: as for `find_divergence`.
        path: the file.
        graphs: as for `find_divergence`.
        say: called with a few words where this takes time.
    """
    if proof.divergent_input is None:
        return proof.report
    say("localizing where the file diverges from the model")
    found = find_divergence(model, proof.divergent_input, path, graphs, proof.precision)
    if isinstance(found, Finding):
        return replace(proof.report, findings=(*proof.report.findings, found))
    return replace(proof.report, notes=(*proof.report.notes, found))


def find_divergence(
    model: nn.Module,
    example: Example,
    path: Path,
    graphs: GraphSource,
    precision: Precision | None = None,
) -> Finding | str:
    """Find the first operator of a file that computes something else than the model.

    Args:
        model: an eager module.
        example: a small input on which they differ.
        path: the file.
        graphs: of the model; called once.
        precision: what the file computes in, where that is lower than the model's own.

    Returns:
        The finding, or a sentence that says why there is none; it does not raise.
    """
    try:
        with tempfile.TemporaryDirectory() as scratch, preserved_random_state():
            known = graphs(example)  # first: a detector has none, and all values of its file cost
            graph = graph_of(path, named_tensors(model, example), Path(scratch))
            return _find(example, graph, known, precision)
    except Exception as failure:
        return f"where the file diverges from the model could not be found ({first_line(failure)})"


def _find(
    example: Example, graph: OnnxGraph, graphs: Graphs, precision: Precision | None
) -> Finding | str:
    """Search the divergence among the values of the folded, then of the captured graph."""
    values = FileValues(graph.values)
    for in_parts in (False, True):  # parts of few numbers may be off by chance: they come last
        how: dict[str, Any] = {"in_parts": in_parts, "precision": precision}
        truth = match_values(graphs.captured, example, values, **how)
        folded = match_values(graphs.folded, example, values, **how)
        # Where only the second is wrong, the file holds what a wrong fold computes.
        for matches, fix in ([folded, truth], _FIX), ([truth], _FIX_FOLD):
            divergence = DivergenceSearch(graph, matches).divergence()
            if divergence is not None:
                return _finding(divergence, graph, [folded, truth], fix)
    return unlike_outputs(graph.outputs, graphs.captured, truth) or _ROUNDING


def _finding(
    divergence: Divergence, graph: OnnxGraph, matches: Sequence[ValueMatches], fix: str
) -> Finding:
    """Describe a divergence as a finding."""
    first, last = divergence.operators[0], divergence.operators[-1]
    input_errors = [match.errors.get(name, 0.0) for match in matches for name in first.inputs]
    if len(divergence.operators) == 1:
        culprit = f"{last} is the first operator that diverges from the model"
    else:
        candidates = ", ".join(map(str, divergence.operators))
        culprit = f"the file diverges from the model at one of {candidates}; which one is uncertain"
    paths: tuple[str, ...] = ()
    meaning = "what it should compute could not be determined"
    if divergence.expected is not None:
        path = called_in(divergence.expected.node)
        paths = (path,)
        meaning = f"it should be {operator_name(divergence.expected.node)} of {path or 'the root'}"
        meaning += unread_input(divergence.expected.node, matches)
        if any(is_without_bias(last, divergence.expected.node, match) for match in matches):
            meaning += ", and is that without its bias"
    names = [name for o in divergence.operators for name in o.constants]
    constants = f"; its constants are computed by {', '.join(names)}" if names else ""
    count = divergence.others
    more = f"; {count} further operators diverge independently" if count else ""
    return Finding(
        DIVERGENCE,
        "error",
        paths,
        f"{culprit}: {_wrong(divergence, last, graph)}, while its inputs {_said(input_errors)}; "
        f"{meaning}{constants}{more}",
        fix,
    )


def _said(errors: Sequence[float]) -> str:
    """Describe how far the inputs of an operator are off."""
    worst = max(errors, default=0.0)
    return f"are off by at most {worst:.1e}" if worst else "agree exactly"


def _wrong(divergence: Divergence, operator: Operator, graph: OnnxGraph) -> str:
    """Describe what is wrong with the value of an operator."""
    if operator in graph.broken:
        return graph.broken[operator]
    name = operator.outputs[0]
    value = graph.values.get(name)
    if value is None:
        return f"its value {name} cannot be computed"
    if divergence.expected is None:
        return f"its value {name}, of shape {tuple(value.shape)}, is not a value of the model"
    exact, allowed = divergence.expected.exact, divergence.expected.allowed
    value = in_shape(value, exact.shape)
    if mismatch := difference(value, exact.to(value.dtype)):
        return f"its value {name} has {mismatch}"
    errors = [(e, allowed[measure]) for measure, e in relative_errors(value, exact).items()]
    error, most, place = errors[0][0], errors[0][1], ""
    if exceeding := [(error, most) for error, most in errors if error > most]:
        error, most = exceeding[0]
    elif wrong := divergence.expected.wrong_part(value):
        error, most, place = wrong.error, wrong.allowed, f" in {wrong.name}"
    return f"its value {name} is off by {error:.1e}{place}, {most:.1e} allowed"

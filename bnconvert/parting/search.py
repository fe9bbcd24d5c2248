"""Where an ONNX file parts from its model: the first operator whose value is wrong.

Every value of the file is compared with those of the captured model and of the folded graph. An
operator is right if its value is one of them, or anything that is computed from it: what folding
moves is made up for later. The culprit has right inputs, and nothing right behind it.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import fx, nn

from bnconvert.errors import first_line
from bnconvert.examples import Example, named_tensors
from bnconvert.graphs.aten import called_in
from bnconvert.numerics.distance import difference, relative_errors
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.parting.counterparts import Counterparts, Measured, follow
from bnconvert.parting.judging import Judgement, Parting
from bnconvert.parting.kinship import operator_name
from bnconvert.parting.onnx_graph import OnnxGraph, Operator, graph_of
from bnconvert.proving.comparison import Proof
from bnconvert.proving.finding_ids import PARTING
from bnconvert.reporting.records import Finding
from bnconvert.reporting.report import Report

_FIX = "look at the operator's weights, attributes and inputs; whatever edited the file broke it"
_FIX_FOLD = (
    "a fold is wrong: please report it with the model; torch.onnx.export(model) is a way out"
)
_ROUNDING = (
    "no single operator of the file parts from the model by more than rounding: its errors add "
    "up, or its outputs are in another order"
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


def localized(
    proof: Proof, model: nn.Module, path: Path, graphs: GraphSource, say: Callable[[str], None]
) -> Report:
    """Return the report of a proof; where the file differs, with the operator where it parts.

    Args:
        proof: of the file.
        model: as for `find_parting`.
        path: the file.
        graphs: as for `find_parting`.
        say: called with a few words where this takes time.
    """
    if proof.parting is None:
        return proof.report
    say("finding where the file parts from the model")
    found = find_parting(model, proof.parting, path, graphs)
    if isinstance(found, Finding):
        return replace(proof.report, findings=(*proof.report.findings, found))
    return replace(proof.report, notes=(*proof.report.notes, found))


def find_parting(
    model: nn.Module, example: Example, path: Path, graphs: GraphSource
) -> Finding | str:
    """Find the first operator of a file that computes something else than the model.

    Args:
        model: an eager module.
        example: one small input on which they differ.
        path: the file.
        graphs: of the model; called once.

    Returns:
        The finding, or a sentence that says why there is none. It never raises.
    """
    try:
        with tempfile.TemporaryDirectory() as scratch, preserved_random_state():
            graph = graph_of(path, named_tensors(model, example), Path(scratch))
            return _found(example, graph, graphs(example))
    except Exception as failure:
        return f"where the file parts from the model could not be found ({first_line(failure)})"


def _found(example: Example, graph: OnnxGraph, graphs: Graphs) -> Finding | str:
    measured = Measured(graph.values)
    truth = follow(graphs.captured, example, measured)
    walks, fix = [follow(graphs.folded, example, measured), truth], _FIX
    parting = Judgement(graph, walks).parting()
    if parting is None:
        # The file holds what the folded graph computes, and that is not the model.
        parting, fix = Judgement(graph, [truth]).parting(), _FIX_FOLD
    return _ROUNDING if parting is None else _finding(parting, graph, walks, fix)


def _finding(
    parting: Parting, graph: OnnxGraph, walks: Sequence[Counterparts], fix: str
) -> Finding:
    last = parting.operators[-1]
    fed = [walk.errors.get(name, 0.0) for walk in walks for name in parting.operators[0].inputs]
    if len(parting.operators) == 1:
        who = f"{last} is the first operator that parts from the model"
    else:
        names = ", ".join(map(str, parting.operators))
        who = f"the file parts from the model in one of {names}, which cannot be told apart"
    paths: tuple[str, ...] = ()
    should = "what it should compute is not in the model"
    if parting.expected is not None:
        path = called_in(parting.expected.node)
        paths = (path,)
        should = f"it should be {operator_name(parting.expected.node)} of {path or 'the root'}"
    constants = [name for o in parting.operators for name in o.constants]
    made = f"; {', '.join(constants)} made constants for it" if constants else ""
    more = f"; {parting.others} further operators part independently" if parting.others else ""
    return Finding(
        PARTING,
        "error",
        paths,
        f"{who}: {_wrong(parting, last, graph)}, and the values that it reads are at most "
        f"{max(fed, default=0.0):.1e} off; {should}{made}{more}",
        fix,
    )


def _wrong(parting: Parting, operator: Operator, graph: OnnxGraph) -> str:
    """Return what is wrong with the value of an operator, in words."""
    if operator in graph.broken:
        return graph.broken[operator]
    name = operator.outputs[0]
    value = graph.values.get(name)
    if value is None:
        return f"its value {name} cannot be computed"
    if parting.expected is None:
        return f"its value {name}, of shape {tuple(value.shape)}, is none of the model's"
    exact, allowed = parting.expected.exact, parting.expected.allowed
    if said := difference(value, exact.to(value.dtype)):
        return f"its value {name} has {said}"
    errors = [(e, allowed[measure]) for measure, e in relative_errors(value, exact).items()]
    error, most = next(((error, most) for error, most in errors if error > most), errors[0])
    return f"its value {name} is {error:.1e} off, {most:.1e} allowed"

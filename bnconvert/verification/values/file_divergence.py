"""Localize where an ONNX file diverges from another one: the first operator whose value is wrong.

Values are matched by their numbers: a file that was folded or optimized keeps names whose meaning
has changed. A value is right if the reference holds it too, or if everything computed from it is
right. The file diverges at the first operator with right inputs that is not.

Rounding errors grow from operator to operator, and a fault that is no larger than all of them
passes for one. So the reference computes each value that both have once more, from the
candidate's own, before.
"""

import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from bnconvert.errors import first_line
from bnconvert.graphs.example import NamedTensor
from bnconvert.numerics.distance import relative_error
from bnconvert.reporting.records import Finding
from bnconvert.verification.files.onnx_graph import OnnxGraph, Operator, graph_of
from bnconvert.verification.finding_ids import DIVERGENCE
from bnconvert.verification.rounding.lowered_precision import Precision
from bnconvert.verification.values.expected_values import Wanted
from bnconvert.verification.values.reference_values import ReferenceValue, ReferenceValues
from bnconvert.verification.values.value_matching import FileValues, in_shape

#: Up to this relative error, a value of the name of another one is a version of it.
_ALIKE = 0.3
_FIX = "check the operator's weights, attributes and inputs, and the tool that wrote them"


def find_file_divergence(
    reference: tuple[Path, Path],
    candidate: Path,
    inputs: Iterable[Sequence[NamedTensor]],
    precision: Precision | None = None,
) -> Finding | None:
    """Find the first operator of a file that computes something else than another file.

    Args:
        reference: the file that is right, and the same with its weights moved by rounding.
        candidate: the file.
        inputs: on which they differ; the first counts on which an operator is found.
        precision: what either file computes in, where that is lower than float32.

    Returns:
        The finding: the operator, or why none could be looked for; None where none is wrong by
        itself.
    """
    failures: list[Exception] = []
    for tensors in inputs:
        try:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                right = ReferenceValues(reference, tensors, precision, folder)
                wanted, graph = right.all(), graph_of(candidate, tensors, folder)
                if found := _find_locally(right, wanted, graph) or _find(wanted, graph):
                    return found
        except Exception as failure:
            failures.append(failure)
    if not failures:
        return None
    why = f"where the files diverge could not be found ({first_line(failures[0])})"
    return Finding(DIVERGENCE, "error", ("(root)",), why, _FIX)


def _find_locally(
    reference: ReferenceValues, wanted: Mapping[str, ReferenceValue], candidate: OnnxGraph
) -> Finding | None:
    """Find the first operator whose value the reference does not compute from the file's own."""
    values, inputs = FileValues(candidate.values), {name for name, _ in reference.tensors}
    found = {n: _version(n, w, values) for n, w in wanted.items() if n not in inputs}
    versions = {name: version for name, version in found.items() if version is not None}
    own_values = {n: in_shape(values.values[v], wanted[n].exact.shape) for n, v in versions.items()}
    given = {n: value.to(wanted[n].dtype) for n, value in own_values.items()}
    try:
        local = reference.computed_from(given)
    except Exception:  # it does not run on other numbers than its own
        return None
    right: set[Operator] = set()
    for operator in candidate.operators:
        own = [n for n, v in versions.items() if v in operator.outputs and n in local]
        if any(local[n].error_of(own_values[n]) is not None for n in own):
            right.add(operator)
        elif own:
            first = _first_between(right, operator, candidate, values.held(wanted.values()))
            if first is not operator:
                return _finding(first, _what_is_wrong(first, candidate, wanted))
            return _finding(operator, _how_far(versions[own[0]], candidate, local[own[0]]))
    return None


def _first_between(
    right: Collection[Operator], wrong: Operator, graph: OnnxGraph, held: set[str]
) -> Operator:
    """Return the first operator between right ones and a wrong one that is not right itself."""
    producers = {name: operator for operator in graph.operators for name in operator.outputs}
    between, left = {wrong}, [wrong]
    while left:
        before = {producers[name] for name in left.pop().inputs if name in producers}
        before -= between | {*right}
        between |= before
        left += before
    ordered = (operator for operator in graph.operators if operator in between)
    return next((one for one in ordered if not held.issuperset(one.outputs)), wrong)


def _version(name: str, wanted: Wanted, values: FileValues) -> str | None:
    """Return the value of a file that is a wanted one, right or wrong; or None."""
    own = values.values.get(name)
    if not wanted.exact.is_floating_point():
        return None
    fits = own is not None and own.is_floating_point() and own.shape == wanted.exact.shape
    if own is not None and fits and relative_error(own, wanted.exact, "norm") < _ALIKE:
        return name
    holders = values.holders(wanted)
    return min(holders, key=lambda name: holders[name], default=None)


def _find(wanted: Mapping[str, Wanted], candidate: OnnxGraph) -> Finding | None:
    right = _right(candidate, FileValues(candidate.values).held(wanted.values()))
    producers = {name: operator for operator in candidate.operators for name in operator.outputs}
    for operator in candidate.operators:
        before = [producers[name] for name in operator.inputs if name in producers]
        if operator not in right and all(producer in right for producer in before):
            return _finding(operator, _what_is_wrong(operator, candidate, wanted))
    return None


def _right(graph: OnnxGraph, held: set[str]) -> set[Operator]:
    """Return the operators whose value is held, or from which only right ones are computed."""
    right: set[Operator] = set()
    consumers = graph.consumers()
    for operator in reversed(graph.operators):
        readers = [reader for name in operator.outputs for reader in consumers.get(name, ())]
        absorbed = bool(readers) and all(reader in right for reader in readers)
        if absorbed or held.issuperset(operator.outputs):
            right.add(operator)
    return right


def _what_is_wrong(operator: Operator, graph: OnnxGraph, wanted: Mapping[str, Wanted]) -> str:
    """Describe a wrong value; by how much is known where the reference has one of that name."""
    name = operator.outputs[0]
    value, expected = graph.values.get(name), wanted.get(name)
    if value is None:
        return f"its value {name} cannot be computed"
    if expected is not None and expected.exact.shape == value.shape:
        return _how_far(name, graph, expected)
    alike = [other for other, w in wanted.items() if w.exact.shape == value.shape]
    near = min(alike, key=lambda n: relative_error(value, wanted[n].exact, "norm"), default="")
    wrong = f"its value {name}, of shape {tuple(value.shape)}, is not in the reference"
    if near:
        error = relative_error(value, wanted[near].exact, "norm")
        wrong += f"; {near} is nearest, and off by {error:.1e}"
    return wrong


def _how_far(name: str, graph: OnnxGraph, expected: Wanted) -> str:
    value = in_shape(graph.values[name], expected.exact.shape)
    error = relative_error(value, expected.exact, "norm")
    return f"its value {name} is off by {error:.1e}, {expected.allowed['norm']:.1e} allowed"


def _finding(operator: Operator, wrong: str) -> Finding:
    return Finding(
        DIVERGENCE,
        "error",
        ("(root)",),
        f"{operator} is the first operator that diverges from the reference: {wrong}",
        _FIX,
    )

"""The operators of a file whose weights nothing shows that is compared with another file.

A file agrees whatever these weights are: an index of the largest hides the scores, and a ReLU that
is zero everywhere hides the layers before and after it.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from bnconvert.reporting.records import Finding
from bnconvert.reporting.table import listed
from bnconvert.verification.finding_ids import UNPROVEN
from bnconvert.verification.onnx_graph import OnnxGraph, Operator, graph_of
from bnconvert.verification.reference_values import ReferenceValues
from bnconvert.verification.value_matching import FileValues


def unseen_weights(reference: ReferenceValues, candidate: Path) -> Finding | None:
    """Return a finding about the weights of a file that agrees, if some are not seen.

    Args:
        reference: the file that it agrees with, on some input.
        candidate: the file.
    """
    graph = graph_of(candidate, reference.tensors, reference.folder)
    found = _unseen(candidate, graph, ())
    if found:
        held = FileValues(graph.values).held(reference.all().values())
        found = _unseen(candidate, graph, held)
    if not found:
        return None
    return Finding(
        UNPROVEN,
        "warning",
        ("(root)",),
        f"the weights of {listed([str(operator) for operator in found])} move no output that was "
        "compared, and no value inside the reference shows them: a file with other ones would "
        "agree too",
        "give inputs for which they matter: real ones, and several",
    )


def _unseen(path: Path, graph: OnnxGraph, held: Collection[str]) -> list[Operator]:
    """Return the operators with weights that neither outputs nor inner values show."""
    shown, weighted = _shown(graph, held), _weighted(path)
    return [
        operator
        for operator in graph.operators
        if operator.place in weighted
        and any(_has_fractions(graph.values.get(name)) for name in operator.outputs)
        and (operator not in shown or not _reads_any(graph, operator))
    ]


def _shown(graph: OnnxGraph, held: Collection[str]) -> set[Operator]:
    """Return the operators of which another value shows the whole."""
    consumers, shown = graph.consumers(), set[Operator]()
    compared = {*graph.outputs, *held}
    for operator in reversed(graph.operators):
        readers = [reader for name in operator.outputs for reader in consumers.get(name, ())]
        telling = (reader for reader in readers if reader in shown)
        own = (name for name in operator.outputs if name in compared)
        if any(_tells(graph, name) for name in own) or any(
            _tells(graph, name) for reader in telling for name in reader.outputs
        ):
            shown.add(operator)
    return shown


def _tells(graph: OnnxGraph, name: str) -> bool:
    """Tell whether a value moves with what it is computed from, as far as can be seen."""
    value = graph.values.get(name)
    return value is None or (_has_fractions(value) and bool(value.any()))


def _reads_any(graph: OnnxGraph, operator: Operator) -> bool:
    """Tell whether an operator reads a number that is not zero: weights times zero are unseen."""
    read = [graph.values.get(name) for name in operator.inputs]
    return any(value is None or bool(value.any()) for value in read)


def _has_fractions(value: Tensor | None) -> bool:
    return value is not None and value.is_floating_point()


def _weighted(path: Path) -> set[int]:
    """Return the places of the nodes that read weights with fractions, also computed ones."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer if _is_floating(tensor)}
    fed = {value.name for value in graph.input}
    found: set[int] = set()
    for place, node in enumerate(graph.node):
        depends = not fed.isdisjoint(node.input)
        reads = not weights.isdisjoint(node.input)
        if depends:
            fed.update(node.output)
        if depends and reads:
            found.add(place)
        elif reads or any(_is_floating(a.t) or a.f or a.floats for a in _value(node)):
            weights.update(node.output)
    return found


def _value(node: Any) -> list[Any]:
    return [*node.attribute] if node.op_type == "Constant" else []


def _is_floating(tensor: Any) -> bool:
    kinds = type(tensor)
    return tensor.data_type in (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16)

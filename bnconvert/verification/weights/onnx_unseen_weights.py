"""The weights of a file that nothing shows which is compared with another file.

A file agrees whatever these weights are: an index of the largest hides the scores, and a ReLU that
is zero everywhere hides the layers before and after it; in one channel, their weights there.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bnconvert.graphs.example import NamedTensor
from bnconvert.reporting.records import Finding
from bnconvert.reporting.table import listed
from bnconvert.verification.files.onnx_graph import OnnxGraph, Operator, graph_of
from bnconvert.verification.finding_ids import UNPROVEN
from bnconvert.verification.values.reference_values import ReferenceValues
from bnconvert.verification.values.value_matching import FileValues
from bnconvert.verification.weights.onnx_hidden_channels import HiddenChannels
from bnconvert.verification.weights.onnx_shown_values import has_fractions, shown_operators


def unseen_weights(
    reference: ReferenceValues, candidate: Path, others: Iterable[Sequence[NamedTensor]] = ()
) -> Iterator[Finding]:
    """Yield findings about the weights of a file that agrees, if some are not seen.

    Args:
        reference: the file that it agrees with, on some input.
        candidate: the file.
        others: further inputs on which both agree.
    """
    graph = graph_of(candidate, reference.tensors, reference.folder)
    found, hidden = _unseen(candidate, graph, ()), HiddenChannels(candidate)
    hidden.see(graph)
    hidden.leave_out_those_of(reference.files[0], reference.eps)
    if found or hidden.channels:
        held = FileValues(graph.values).held(reference.all().values())
        found = _unseen(candidate, graph, held)
        hidden.see(graph, held)
    if found:
        yield Finding(
            UNPROVEN,
            "warning",
            ("(root)",),
            f"the weights of {listed([str(operator) for operator in found])} move no output that "
            "was compared, and no value inside the reference shows them: a file with other ones "
            "would agree too",
            "give inputs for which they matter: real ones, and several",
        )
    for tensors in others:
        if hidden.channels:
            hidden.see(graph_of(candidate, tensors, reference.folder))
    if parts := hidden.titles([o for o in graph.operators if o not in found]):
        yield Finding(
            UNPROVEN,
            "warning",
            ("(root)",),
            f"some weights of {listed(parts)} move no output that was compared, and are not the "
            "reference's: these channels are zero, or an activation makes them constant, on all "
            "inputs, and a file with other weights there would agree too",
            "give inputs for which they matter: real ones, and several",
        )


def _unseen(path: Path, graph: OnnxGraph, held: Collection[str]) -> list[Operator]:
    """Return the operators with weights that neither outputs nor inner values show."""
    shown, weighted = shown_operators(graph, held), _weighted(path)
    return [
        operator
        for operator in graph.operators
        if operator.place in weighted
        and any(has_fractions(graph.values.get(name)) for name in operator.outputs)
        and (operator not in shown or not _reads_any(graph, operator))
    ]


def _reads_any(graph: OnnxGraph, operator: Operator) -> bool:
    """Tell whether an operator reads a number that is not zero: weights times zero are unseen."""
    read = [graph.values.get(name) for name in operator.inputs]
    return any(value is None or bool(value.any()) for value in read)


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

"""Values of the model that a file lacks: operators left out, and outputs in another order.

Every operator of such a file may be right; what is wrong is that there are too few of them.
"""

from collections.abc import Sequence

from torch import fx
from torch.utils import _pytree as pytree

from bnconvert.graphs.aten import called_in
from bnconvert.reporting.records import Finding
from bnconvert.reporting.table import listed
from bnconvert.verification.files.onnx_graph import Operator
from bnconvert.verification.finding_ids import DIVERGENCE
from bnconvert.verification.values.operator_mapping import operator_name
from bnconvert.verification.values.value_matching import ValueMatches

_ORDER = "give the outputs the order of the model's, or compare it with a model that has theirs"
_WHOLE = "export the whole model, or compare the file with the part of it that was exported"


def unread_input(node: fx.Node, matches: Sequence[ValueMatches]) -> str:
    """Say which value an operator should read, where no operator of the file computes it.

    Args:
        node: what the operator should compute.
        matches: with the folded graph, then with the captured one, where nodes have the same names.

    Returns:
        The end of a sentence; "" where the file holds all that the operator should read.
    """
    for match in reversed(matches):
        for own in (missing for missing in match.missing if missing.name == node.name):
            for read in own.all_input_nodes:
                if read in match.missing and read not in match.held:
                    return f", of what {_described(read)} gives, which the file does not compute"
    return ""


def is_without_bias(operator: Operator, node: fx.Node, match: ValueMatches) -> bool:
    """Tell whether an operator's value is what it should be before the bias is added."""
    return not match.bare.get(node, frozenset()).isdisjoint(operator.outputs)


def unlike_outputs(
    names: Sequence[str], captured: fx.GraphModule, truth: ValueMatches
) -> Finding | None:
    """Return a finding where outputs of a file are right values, but not those of the model.

    Args:
        names: of the file's outputs.
        captured: the model.
        truth: which values of the file are those of the captured graph.
    """
    leaves = pytree.tree_leaves(captured.graph.output_node().args)
    outputs = [leaf for leaf in leaves if isinstance(leaf, fx.Node)]
    for name, node in zip(names, outputs, strict=False):
        if name in truth.held.get(node, ()):
            continue
        holders = [other for other, found in truth.held.items() if name in found]
        if other := next((o for o in holders if o in outputs), None):
            place = outputs.index(other)
            message = f"is the model's output {place}, {_described(other)}, in the place of another"
            return _finding(other, f"outputs are in another order: {name} {message}", _ORDER)
        if holders:
            lost = listed([_described(missing) for missing in _after(holders[-1], truth)])
            message = f"is the model's value of {_described(holders[-1])}"
            return _finding(
                node, f"operators are left out: {name} {message}, but not {lost} after it", _WHOLE
            )
    return None


def _after(node: fx.Node, truth: ValueMatches) -> list[fx.Node]:
    """Return the operators after a value that a file lacks, in order."""
    reached = {node}
    for missing in truth.missing:
        if reached.intersection(missing.all_input_nodes):
            reached.add(missing)
    return [missing for missing in truth.missing if missing in reached]


def _finding(node: fx.Node, message: str, fix: str) -> Finding:
    return Finding(DIVERGENCE, "error", (called_in(node),), message, fix)


def _described(node: fx.Node) -> str:
    return f"{operator_name(node)} of {called_in(node) or 'the root'}"

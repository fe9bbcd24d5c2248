"""Biases that take back what rounding weights to 8 bits adds to a layer's output on average.

Rounding a weight by e moves the output by e x, on average by e E[x], which the bias takes back
(Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019,
section 4.2). E[x] is what the folded norms tell. A layer of the folded graph may read s x + t in
place of x, where a fold or the equalization has moved a scale: s and t are measured on the example.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from bnconvert.errors import Refusal
from bnconvert.folding.equalizing.expected_means import expected_inputs
from bnconvert.folding.operators.conv import Conv
from bnconvert.folding.operators.linear import Linear
from bnconvert.folding.operators.weights import weights_of
from bnconvert.graphs.aten import argument
from bnconvert.graphs.example import Example
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.modules.copies.copying import copy_graph
from bnconvert.modules.folded_module import FoldedModule
from bnconvert.numerics.distance import relative_error
from bnconvert.verification.references.model_outputs import outputs_of

#: For which rounding biases are corrected: none, or 8 bits with one scale for each of these.
Biases = Literal["keep", "per-tensor", "per-channel"]
_LAYERS = Conv.targets | Linear.targets
_LARGEST = 127
#: So many numbers of a channel tell by which scale and shift two graphs differ there.
_MOST_NUMBERS = 4096
_ALIKE = 1e-3


@dataclass(frozen=True, eq=False)
class CorrectedGraph:
    """A graph with corrected biases.

    Attributes:
        module: the graph.
        note: how many are, for what, and how far the outputs move.
    """

    module: FoldedModule
    note: str


def correct_biases(
    module: FoldedModule, captured: fx.GraphModule, example: Example, biases: Biases
) -> CorrectedGraph:
    """Correct the biases of a copy of a folded graph.

    Args:
        module: the graph; looked at only.
        captured: the graph from which it was folded, with its norms; looked at only.
        example: inputs of both.
        biases: the rounding that is corrected for; not "keep".
    """
    expected = expected_inputs(captured, _LAYERS)
    before, after = (_InputsOfLayers.of(graph, example) for graph in (captured, module))
    graph = MutableGraph(copy_graph(module))
    layers = [node for node in graph.fx_graph.nodes if node.target in _LAYERS]
    count = 0
    for node in layers:
        if not {node.name} <= expected.keys() & before.keys() & after.keys():
            continue
        mean = _moved(expected[node.name], before[node.name], after[node.name])
        count += mean is not None and _correct(graph, node, mean, biases)
    graph.commit()
    corrected = FoldedModule.of(graph.module)
    pairs = zip(outputs_of(corrected, example), outputs_of(module, example), strict=True)
    far = max((relative_error(new, old, "norm") for new, old in pairs), default=0.0)
    scales = "one scale" if biases == "per-tensor" else "a scale for each output channel"
    return CorrectedGraph(
        corrected,
        f"the biases of {count} of {len(layers)} layers are corrected for weights of 8 bits with "
        f"{scales}: unrounded, the outputs move by {far:.2g} of their size on the example inputs",
    )


class _InputsOfLayers(fx.Interpreter):
    """Runs a graph and keeps some numbers of what each layer reads, channels first."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[str, Tensor] = {}

    @classmethod
    def of(cls, module: fx.GraphModule, example: Example) -> dict[str, Tensor]:
        """Return the numbers by the name of the layer's node."""
        run, copied = cls(module), example.map(Tensor.clone)
        with torch.no_grad():
            leaves = pytree.tree_leaves((copied.args, copied.kwargs))
            run.run(*leaves, enable_io_processing=False)
        return run.found

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_function" and n.target in _LAYERS:
            x = self.fetch_args_kwargs_from_env(n)[0][0]
            if x.dim() >= 2:  # a linear layer may read a single row, of which no norm tells
                channels = x.movedim(-1 if n.target in Linear.targets else 1, 0).flatten(1)
                self.found[n.name] = channels[:, :_MOST_NUMBERS].double().cpu()
        return super().run_node(n)


def _moved(mean: Tensor, before: Tensor, after: Tensor) -> Tensor | None:
    """Return the mean of a layer's input in the graph `after`; None where that is no map of it.

    Args:
        mean: of the input in the graph `before`, shape (channels,).
        before: numbers of each channel there, shape (channels, numbers).
        after: the same numbers in the other graph.
    """
    if before.shape != after.shape or len(mean) != len(before):
        return None
    center, other = before.mean(1, keepdim=True), after.mean(1, keepdim=True)
    spread = before - center
    square = spread.square().sum(1, keepdim=True)
    telling = square.sqrt() > _ALIKE * before.norm(dim=1, keepdim=True)
    slope = (spread * (after - other)).sum(1, keepdim=True) / square
    ratio = torch.where(center == 0, torch.ones_like(center), other / center)
    scale = torch.where(telling, slope, ratio)
    shift = torch.where(telling, other - scale * center, torch.zeros_like(center))
    missing = (scale * before + shift - after).abs().max()
    if not missing <= _ALIKE * after.abs().max():
        return None
    return (scale * mean[:, None] + shift).flatten()


def _correct(graph: MutableGraph, node: fx.Node, mean: Tensor, biases: Biases) -> bool:
    """Give a layer the bias that goes with its rounded weight; tell whether it could be."""
    found = weights_of(graph, node)
    if isinstance(found, Refusal) or graph.sharers(node, argument(node, "weight")):
        return False
    weight, bias = found[0].numbers(), found[1]
    moved = (_in_8_bits(weight, biases) - weight).flatten(1)
    rows = moved.reshape(len(weight), weight.shape[1], -1).sum(2)
    groups = int(argument(node, "groups")) if node.target in Conv.targets else 1
    if len(mean) != groups * weight.shape[1] or not bool(torch.isfinite(mean).all()):
        return False
    read = mean.reshape(groups, 1, -1).expand(-1, len(weight) // groups, -1)
    shift = (rows * read.reshape(len(weight), -1)).sum(1)
    graph.set_weights(node, weight, -shift if bias is None else bias - shift)
    return True


def _in_8_bits(weight: Tensor, biases: Biases) -> Tensor:
    """Round a weight to 8 bits, symmetric, by the largest |w|."""
    sizes = weight.abs()
    axes = list(range(1, weight.dim()))
    largest = sizes.amax(axes, keepdim=True) if biases == "per-channel" else sizes.max()
    step = torch.where(largest > 0, largest, torch.ones_like(largest)) / _LARGEST
    return (weight / step).round() * step

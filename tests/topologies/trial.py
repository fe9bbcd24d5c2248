"""A trial: a topology, folded once, whose results several tests look at."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import pytest
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

import bnconvert as bnc
from bnconvert.graphs.example import Example
from tests.topologies.topology import Topology


@dataclass(frozen=True, eq=False)
class Trial:
    """A folded topology.

    Attributes:
        model: what `fold` has seen.
        before: a copy from before, never called.
        examples: the inputs that it was captured with; others where the batch is dynamic.
        folded: the result.
    """

    model: nn.Module
    before: nn.Module
    examples: tuple[Example, ...]
    folded: bnc.Folded

    @classmethod
    def of(cls, topology: Topology, *, double: bool) -> "Trial":
        """Build and fold a topology, in float64 or in its own dtype; or skip the test."""
        if topology.requires:
            pytest.importorskip(topology.requires)
        model, example = topology.model(), Example.of(topology.inputs())
        if double:
            model, example = model.double(), example.in_double()
        before = copy.deepcopy(model)
        shapes = None if topology.dynamic else tuple(None for _ in example.args)
        folded = bnc.fold(model, example.args, dynamic_shapes=shapes)
        others = (example.rows([1, 0, 1]),) if topology.dynamic else ()
        return cls(model, before, (example, *others), folded)

    def rounded(self, model: nn.Module) -> "Trial":
        """Return the same with all numbers rounded to float32, beside the model in float32."""
        examples = tuple(example.map(Tensor.float) for example in self.examples)
        module = copy.deepcopy(self.folded.module).float()
        return Trial(model, model, examples, replace(self.folded, module=module))

    @cached_property
    def expected(self) -> list[list[Tensor]]:
        """What the model makes of each example."""
        return [outputs(copy.deepcopy(self.before), example) for example in self.examples]

    @cached_property
    def perturbed(self) -> list[list[Tensor]]:
        """What the model makes of examples that are moved by one unit in the last place."""
        return [
            outputs(copy.deepcopy(self.before), example.perturbed()) for example in self.examples
        ]

    @cached_property
    def actual(self) -> list[list[Tensor]]:
        """What the folded graph makes of each example."""
        return [outputs(self.folded.module, example) for example in self.examples]

    def operators(self) -> list[str]:
        """Return the names of the operators that are left."""
        graph = self.folded.module.graph
        assert isinstance(graph, fx.Graph)
        made = [node for node in _makers(graph.output_node()) if node.op == "call_function"]
        return [_name(node) for node in made]


def outputs(model: nn.Module, example: Example) -> list[Tensor]:
    """Return a model's outputs."""
    with torch.no_grad():
        result = model(*example.map(Tensor.clone).args)
    leaves: list[Tensor] = pytree.tree_leaves(result)
    return leaves


@cache
def exact(topology: Topology) -> Trial:
    """Return a topology folded in float64."""
    return Trial.of(topology, double=True)


def _makers(node: fx.Node) -> Iterator[fx.Node]:
    """Give everything that a node is computed from."""
    pending: Sequence[fx.Node] = [node]
    seen: dict[fx.Node, None] = {}
    while pending:
        seen |= dict.fromkeys(pending)
        pending = [source for n in pending for source in n.all_input_nodes if source not in seen]
    return iter(seen)


def _name(node: fx.Node) -> str:
    """Return an operator's name without its overload; one of Python's, on sizes, in brackets."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return f"({node.target})"
    name = node.target.__name__.partition(".")[0]
    if name == "instance_norm" and node.args[5]:
        return "instance_norm of the input"
    return "conv" if name.startswith("conv") else name

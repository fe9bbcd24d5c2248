"""One fold alone at work on an excerpt, and the outcome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from bnconvert.folding.fixpoint import fold_graph
from bnconvert.folding.folds.fold import Fold
from bnconvert.folding.operators.graph_plan import GraphPlan
from bnconvert.folding.operators.propagation import MapPropagator
from bnconvert.folding.outcome import NormOutcome
from bnconvert.graphs.aten import aten, norm_calls
from bnconvert.graphs.mutable_graph import MutableGraph
from tests.excerpts import Applied, Excerpts, Sketch, model
from tests.zoo import trained

#: What a fold decides where it would do something.
PLAN = "a plan"


@dataclass(frozen=True, eq=False)
class Done:
    """A folded excerpt, and the outcomes of its norms in the order of the calls."""

    module: fx.GraphModule
    calls: list[NormOutcome]

    @property
    def operators(self) -> list[str]:
        """The names of its operators, without those on sizes."""
        nodes = [node for node in self.module.graph.nodes if node.op == "call_function"]
        names = [str(node.target).removeprefix("aten.").partition(".")[0] for node in nodes]
        return [name for name in names if name != "sym_size"]

    @property
    def outcomes(self) -> list[str]:
        """The outcome of each call, and where or why."""
        return [f"{call.fold or call.outcome}: {call.reason}" for call in self.calls]


class Solos(Excerpts):
    """Excerpts for single folds."""

    def verdict(
        self,
        fold: Fold,
        name: str,
        target: Callable[..., Any] = aten.batch_norm.default,
        at: int = 0,
    ) -> str | None:
        """Return what a fold decides about one operator (a norm unless told) of an excerpt."""
        graph = MutableGraph(self[name])
        node = list(graph.fx_graph.find_nodes(op="call_function", target=target))[at]
        code = graph.fx_graph.python_code("self").src
        verdict = fold.decide(MapPropagator(graph), node)
        assert graph.fx_graph.python_code("self").src == code  # it only looks
        if verdict is None:
            return None
        return PLAN if isinstance(verdict, GraphPlan) else str(verdict)

    def done(self, name: str, *folds: Fold) -> Done:
        """Let folds do all they can; check that the excerpt computes what it did."""
        module = self[name]
        inputs = [torch.randn(3, *shape[1:]).double() for shape in self.sketches[name].shapes]
        with torch.no_grad():
            expected = module(*inputs)
            outcomes = fold_graph(MutableGraph(module), norm_calls(module), folds)
            torch.testing.assert_close(module(*inputs), expected, rtol=1e-11, atol=1e-11)
        return Done(module, outcomes)


def using(applied: Callable[..., Any], kinds: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
    """Return a function as a model, with those modules that it names: `m.conv`, `m.norm`."""
    names = applied.__code__.co_names
    return Applied(applied, **{name: kind() for name, kind in kinds.items() if name in names})


def seasoned(build: Callable[[], nn.Module], *shapes: tuple[int, ...], sign: int = 0) -> Sketch:
    """Sketch a model with trained norms; with `sign` all their scales have it."""

    def built() -> nn.Module:
        network = trained(build())
        for module in network.modules():
            if sign and isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
                module.weight.data = sign * module.weight.data.abs()
        return network

    return model(built, *shapes)

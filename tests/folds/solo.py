"""One fold alone at work on an excerpt, and what becomes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from bnconvert.folds.fates import Fate, fold_network
from bnconvert.folds.fold import Fold
from bnconvert.graphs.aten import aten, norm_calls
from bnconvert.graphs.network import Network
from bnconvert.layers.plan import Plan
from bnconvert.layers.way import Way
from tests.excerpts import Applied, Excerpts, Sketch, model
from tests.zoo import trained

#: What a fold decides where it would do something.
PLAN = "a plan"


@dataclass(frozen=True, eq=False)
class Done:
    """A folded excerpt, and the fates of its norms in the order of the calls."""

    module: fx.GraphModule
    fates: list[Fate]

    @property
    def operators(self) -> list[str]:
        """The names of its operators, without those on sizes."""
        nodes = [node for node in self.module.graph.nodes if node.op == "call_function"]
        names = [str(node.target).removeprefix("aten.").partition(".")[0] for node in nodes]
        return [name for name in names if name != "sym_size"]

    @property
    def outcomes(self) -> list[str]:
        """What became of each norm, and where."""
        return [f"{fate.fold or fate.outcome}: {fate.reason}" for fate in self.fates]


class Solos(Excerpts):
    """Excerpts for single folds."""

    def verdict(self, fold: Fold, name: str, target: object = None, at: int = 0) -> str | None:
        """Return what a fold decides about one operator (a norm unless told) of an excerpt."""
        network = Network(self[name])
        wanted = aten.batch_norm.default if target is None else target
        node = list(network.graph.find_nodes(op="call_function", target=wanted))[at]
        code = network.graph.python_code("self").src
        verdict = fold.decide(Way(network), node)
        assert network.graph.python_code("self").src == code  # it only looks
        return PLAN if isinstance(verdict, Plan) else verdict

    def done(self, name: str, *folds: Fold) -> Done:
        """Let folds do all they can; check that the excerpt computes what it did."""
        module = self[name]
        inputs = [torch.randn(3, *shape[1:]).double() for shape in self.sketches[name].shapes]
        with torch.no_grad():
            expected = module(*inputs)
            fates = fold_network(Network(module), norm_calls(module), folds)
            torch.testing.assert_close(module(*inputs), expected, rtol=1e-11, atol=1e-11)
        return Done(module, fates)


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

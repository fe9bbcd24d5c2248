"""A passage: one captured operator between open ends, through which a map is sent up or down."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.operators.graph_plan import Verdict
from bnconvert.folding.operators.operator_rule import sizes_of
from bnconvert.folding.operators.propagation import MapPropagator
from bnconvert.graphs.mutable_graph import MutableGraph, channelwise
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.torch_private.symbolic_sizes import example_value
from tests.excerpts import Excerpts

#: What a passage says where it has taken a map, and computes what it should.
PASSES = "it passes"


@dataclass(frozen=True)
class Change:
    """A kind of map, drawn at random.

    Attributes:
        scale: "signed", "positive", or "" for a scale of 1.
        shift: whether it adds anything.
    """

    scale: str = ""
    shift: bool = False

    def on(self, value: Tensor, axes: tuple[int, ...]) -> ChannelMap:
        """Draw one that varies along these axes of a value."""
        shape = [size if axis in axes else 1 for axis, size in enumerate(value.shape)]
        scale, shift = torch.ones(shape).double(), torch.zeros(shape).double()
        if self.scale:
            scale.uniform_(0.5, 2)
        if self.scale == "signed":
            scale.flatten()[::2] *= -1
        return ChannelMap.of(scale, shift.normal_() if self.shift else shift)


Drawn = Change | ChannelMap
ANY = Change("signed", True)
POSITIVE = Change("positive", True)
SCALE = Change("signed")
POSITIVE_SCALE = Change("positive")
SHIFT = Change(shift=True)


class Passage:
    """A captured graph with a map that does nothing on each of its ends, ready to take one.

    Dynamic sizes are one larger than when it was captured.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module
        inputs = module.graph.find_nodes(op="placeholder")
        self.inputs = [torch.randn([_larger(n) for n in sizes_of(x)]).double() for x in inputs]
        (outputs,) = module.graph.output_node().args
        self.results: list[Any] = list(outputs) if isinstance(outputs, tuple) else [outputs]
        self.graph = MutableGraph(module)
        self.propagator = MapPropagator(self.graph)
        self.ends = [self._open_end(value) for value in inputs]
        for value in self.results:
            self._open_end(value)
        module.recompile()

    def up(self, change: Drawn, axes: tuple[int, ...] = (1,), at: int = 0) -> str:
        """Ask for a map of a result, varying along `axes`; check what comes then."""
        results = self._run(self.inputs)
        wanted = _drawn(change, results[at], axes)
        plan = self.propagator.absorb_output_map(self.results[at], wanted)
        results[at] = wanted.scale * results[at] + wanted.shift
        return self._verdict(plan, results)

    def down(self, change: Drawn, axes: tuple[int, ...] = (1,), at: int = 0) -> str:
        """Leave out a map of an input, varying along `axes`; check what comes then."""
        input_map = _drawn(change, self.inputs[at], axes)
        plan = self.propagator.into_consumers(self.ends[at], input_map)
        mapped = list(self.inputs)
        mapped[at] = input_map.scale * mapped[at] + input_map.shift
        return self._verdict(plan, self._run(mapped))

    def _verdict(self, plan: Verdict, expected: list[Tensor]) -> str:
        if isinstance(plan, Refusal):
            return str(plan)
        plan.apply(self.graph)
        self.graph.commit()
        torch.testing.assert_close(self._run(self.inputs), expected, rtol=1e-12, atol=1e-12)
        return PASSES

    def _run(self, inputs: list[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            outputs = self.module(*inputs)
        return list(outputs) if isinstance(outputs, tuple) else [outputs]

    def _open_end(self, value: fx.Node) -> fx.Node:
        axes, dtype = len(sizes_of(value)), value.meta["val"].dtype
        none, near = ChannelMap.identity(axes), value.next
        constants = [
            self.graph.add_constant(near, name, tensor, dtype, "")
            for name, tensor in (("scale", none.scale), ("shift", none.shift))
        ]
        with self.graph.fx_graph.inserting_before(near):
            end = self.graph.fx_graph.call_function(channelwise, (value, *constants))
        end.meta = dict(value.meta)
        value.replace_all_uses_with(end, delete_user_cb=lambda user: user is not end)
        return end


class Passages(Excerpts):
    """Captured graphs as passages, by name; each may be gone through once."""

    def __call__(self, name: str) -> Passage:
        return Passage(self[name])


def _drawn(change: Drawn, value: Tensor, axes: tuple[int, ...]) -> ChannelMap:
    return change.on(value, axes) if isinstance(change, Change) else change


def _larger(size: Any) -> int:
    return size if isinstance(size, int) else example_value(size) + 1

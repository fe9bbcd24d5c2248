"""One folded graph equalized: which pairs, by which factors, and the proof; on a copy of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, fx

from bnconvert.errors import Refusal
from bnconvert.folding.equalizing.balancing import find_factors
from bnconvert.folding.equalizing.clipping import Clipping, clip_of, replace_clip
from bnconvert.folding.equalizing.equalized_pair import ChannelRanges, EqualizedPair
from bnconvert.folding.equalizing.layer_pair import LayerPair, find_pair
from bnconvert.folding.operators.bounds import Rebounded
from bnconvert.folding.operators.graph_plan import GraphPlan
from bnconvert.folding.postcondition import interface_of, require_sound
from bnconvert.folding.same_function import first_difference
from bnconvert.graphs.aten import describe
from bnconvert.graphs.example import Example
from bnconvert.graphs.mutable_graph import MutableGraph
from bnconvert.modules.copies.copying import copy_graph
from bnconvert.modules.folded_module import FoldedModule
from bnconvert.numerics.channel_ranges import probe_factors
from bnconvert.numerics.distance import relative_error
from bnconvert.verification.references.model_outputs import outputs_of


@dataclass(frozen=True, eq=False)
class EqualizedGraph:
    """A graph after equalization.

    Attributes:
        module: the graph.
        pairs: one for every layer.
        notes: what to know of it.
    """

    module: FoldedModule
    pairs: tuple[EqualizedPair, ...]
    notes: tuple[str, ...]


def equalize_graph(module: FoldedModule, example: Example, relu6: Clipping) -> EqualizedGraph:
    """Equalize a copy of a folded graph.

    Args:
        module: looked at only.
        example: inputs, on which it is proven.
        relu6: as for `equalize`.
    """
    start = module
    notes: tuple[str, ...] = ()
    if relu6 != "keep" and (clips := _clips_in_the_way(module)):
        start = _with_clips_replaced(module, clips, relu6)
        notes = _what_clips_did(module, start, example, len(clips), relu6)
    truth = start if relu6 == "relu" else module
    graph = MutableGraph(copy_graph(start))
    pairs, rows = _decide(graph)
    scratch = MutableGraph(copy_graph(start))
    factors = find_factors(scratch, _decide(scratch)[0])
    before = {pair: pair.ranges(graph) for pair in pairs}
    for pair in pairs:
        plan = pair.plan(graph, factors[pair.producer.name])
        if isinstance(plan, GraphPlan):  # else a 16-bit weight would overflow
            plan.apply(graph)
    for pair in pairs:
        rows[pair.producer] = _row(pair, before[pair], pair.ranges(graph))
    graph.commit()
    require_sound(graph.module, interface_of(module), ())
    after = FoldedModule.of(graph.module)
    difference = first_difference(truth, after, example)
    if difference is not None:
        return EqualizedGraph(module, tuple(_all_refused(rows.values(), *difference)), ())
    return EqualizedGraph(after, tuple(rows.values()), notes)


def _decide(graph: MutableGraph) -> tuple[list[LayerPair], dict[fx.Node, EqualizedPair]]:
    """Return the pairs of a graph, and a row for each layer, which says why it is in none."""
    pairs: list[LayerPair] = []
    rows: dict[fx.Node, EqualizedPair] = {}
    for node in graph.fx_graph.nodes:
        found = find_pair(graph, node)
        if isinstance(found, LayerPair):
            pairs.append(found)
            rows[node] = EqualizedPair(describe(node), (), found.channels)
        elif found is not None:
            rows[node] = EqualizedPair(describe(node), (), 0, refusal=found)
    return pairs, rows


def _row(
    pair: LayerPair, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]
) -> EqualizedPair:
    return EqualizedPair(
        describe(pair.producer),
        tuple(describe(consumer) for consumer in pair.consumers),
        pair.channels,
        ChannelRanges.of(before[0]),
        ChannelRanges.of(after[0]),
        ChannelRanges.of(before[1]),
        ChannelRanges.of(after[1]),
    )


def _all_refused(
    rows: Iterable[EqualizedPair], output: int, error: float
) -> Iterable[EqualizedPair]:
    """Return the rows of a graph that stays as it is because equalized it is another function."""
    refusal = Refusal(
        "activations-overflow",
        f"equalized, output {output} would be {error:.1e} off: scaled activations leave the range "
        "of their dtype",
        "equalize the model in float32",
    )
    for row in rows:
        yield row if row.refusal else EqualizedPair(row.producer, (), row.channels, refusal=refusal)


def _clips_in_the_way(module: fx.GraphModule) -> tuple[str, ...]:
    """Return the names of the clipping functions without which there would be more pairs."""
    graph = MutableGraph(copy_graph(module))
    found = [node for node in graph.fx_graph.nodes if clip_of(node) is not None]
    name_of = {replace_clip(graph, node, "per-channel"): node.name for node in found}
    passed: set[fx.Node] = set()
    for pair in _decide(graph)[0]:
        plan = pair.plan(graph, probe_factors(pair.channels))
        assert isinstance(plan, GraphPlan)
        passed |= {edit.node for edit in plan.edits if isinstance(edit, Rebounded)}
    return tuple(name for node, name in name_of.items() if node in passed)


def _with_clips_replaced(
    module: fx.GraphModule, names: tuple[str, ...], relu6: Clipping
) -> FoldedModule:
    graph = MutableGraph(copy_graph(module))
    for node in [node for node in graph.fx_graph.nodes if node.name in names]:
        replace_clip(graph, node, relu6)
    graph.commit()
    return FoldedModule.of(graph.module)


def _what_clips_did(
    before: FoldedModule, after: FoldedModule, example: Example, count: int, relu6: Clipping
) -> tuple[str, ...]:
    if relu6 == "per-channel":
        said = "1 clip has" if count == 1 else f"{count} clips have"
        return (f"{said} a bound for every channel, after a ReLU",)
    outputs = zip(outputs_of(after, example), outputs_of(before, example), strict=True)
    moved = max((relative_error(new, old, "norm") for new, old in outputs), default=0.0)
    said = "1 clip is" if count == 1 else f"{count} clips are"
    return (
        f"{said} ReLU now, which is another function: on the example inputs the outputs move by "
        f"{moved:.2g} of their size; check the accuracy on real data",
    )

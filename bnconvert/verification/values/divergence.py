"""Decide which operators of an ONNX file are right, and which is the first that is not."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import fx

from bnconvert.numerics.distance import relative_error
from bnconvert.verification.files.onnx_graph import OnnxGraph, Operator
from bnconvert.verification.values.expected_values import Expected
from bnconvert.verification.values.operator_mapping import is_primitive, may_compute
from bnconvert.verification.values.value_matching import ValueMatches, in_shape

_COPIES = ("Identity", "Dropout", "Cast")
#: What may stand between a product and the addition of its bias: it moves numbers, or rounds them.
_MOVES = (
    *("Identity", "Cast", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Expand"),
    *("Slice", "Split", "Gather", "Concat", "QuantizeLinear", "DequantizeLinear", "Mul", "Div"),
)
_ADDITIONS = ("Add", "Sum", "Sub", "BatchNormalization", "SkipLayerNormalization")
_LIKE = 0.5  # the relative error up to which a value is a wrong version of another


@dataclass(frozen=True, eq=False)
class Divergence:
    """Where a file diverges from its model.

    Attributes:
        operators: the operator where it diverges; several where it may be any of them.
        expected: what the last of them should have computed, or None where that is not known.
        others: how many operators diverge independently of it.
    """

    operators: Sequence[Operator]
    expected: Expected | None
    others: int


class DivergenceSearch:
    """The search for the first operator of a file that computes something else than the model."""

    def __init__(self, graph: OnnxGraph, matches: Sequence[ValueMatches]) -> None:
        """Judge every operator.

        Args:
            graph: the file's graph and values.
            matches: which of its values are those of the captured graphs.
        """
        self._graph = graph
        self._consumers = graph.consumers()
        self._producer = {value: o for o in graph.operators for value in o.outputs}
        self._missing = [expected for match in matches for expected in match.missing.values()]
        held = [dict(self._held_by(match)) for match in matches]
        self._holders = {node: set(names) for found in held for node, names in found.items()}
        self._held = {name for names in self._holders.values() for name in names}
        self._first_missing = [e for match in matches for e in self._first_missing_of(match)]
        self._near = [(e, n) for match in matches for e, n in match.near if n not in self._held]
        self._right = self._right_operators([names for f in held for names in f.values()])

    def divergence(self) -> Divergence | None:
        """Return the first operator that is wrong though its inputs are right, or None."""
        starts = self._starts()
        pairs = [(o, e) for o in starts for e in self._first_missing if self._are_related(o, e)]
        sure = [(o, e) for o, e in (*pairs, *self._near_misses()) if self._read_same_values(o, e)]
        alike = [(o, e) for o, e in pairs if self._error(o, e) < math.inf]
        if sure or alike:
            return self._earliest(sure or alike)
        if not starts:
            return None
        region = self._region(starts)
        if region is None and pairs:
            return self._earliest(pairs)
        return region or Divergence(starts[:1], None, len(starts) - 1)

    def _starts(self) -> list[Operator]:
        """Return the operators that are wrong though all that they read is right.

        An operator that outputs a value of the model, while nothing downstream is right, is wrong
        only if the model computes something else from the same inputs.
        """
        while True:
            wrong = [o for o in self._graph.operators if o not in self._right]
            starts = [operator for operator in wrong if self._has_right_inputs(operator)]
            excused = [
                o
                for o in starts
                if self._held.issuperset(o.outputs)
                and not any(
                    self._are_related(o, e) and self._read_same_values(o, e)
                    for e in self._first_missing
                )
            ]
            if not excused:
                return starts
            self._right.update(excused)

    def _near_misses(self) -> Iterator[tuple[Operator, Expected]]:
        """Yield operators that are slightly wrong, also where rounding hides it downstream."""
        for expected, name in self._near:
            producer = self._producer[name]
            if self._has_right_inputs(producer) and self._are_related(producer, expected):
                yield producer, expected

    def _earliest(self, pairs: Sequence[tuple[Operator, Expected]]) -> Divergence:
        """Return the divergence at the first of several operators in the file."""

        def order(pair: tuple[Operator, Expected]) -> tuple[int, bool, float]:
            return pair[0].place, not self._have_same_name(*pair), self._error(*pair)

        culprit, expected = min(pairs, key=order)
        return Divergence([culprit], expected, len({o for o, _ in pairs}) - 1)

    def _region(self, starts: Sequence[Operator]) -> Divergence | None:
        """Return the operators from the first start to the first that is known to be wrong."""
        for operator in [starts[0], *self._downstream(starts[0])]:
            like = [
                (self._error(operator, e), e)
                for e in self._missing
                if self._error(operator, e)
                < (math.inf if self._are_related(operator, e) else _LIKE)
            ]
            if like:
                _, expected = min(like, key=lambda found: found[0])
                wrong = [o for o in self._graph.operators if o not in self._right]
                before = [o for o in wrong if o.place < operator.place]
                between = [o for o in before if operator in self._downstream(o)]
                others = len([o for o in starts if o not in between and o is not operator])
                return Divergence([*between, operator], expected, others)
        return None

    def _held_by(self, match: ValueMatches) -> Iterator[tuple[fx.Node, list[str]]]:
        """Yield the names of values that are the model's, but no product whose bias is lost."""
        for node, names in match.held.items():
            bare = match.bare.get(node, ())
            kept = [name for name in names if name not in bare or self._is_added_to(name)]
            if kept:
                yield node, kept

    def _first_missing_of(self, match: ValueMatches) -> Iterator[Expected]:
        """Yield the first missing values; those before a bias is added, unless it is lost."""
        for expected in match.first_missing():
            is_bare = match.without_bias.get(expected.node) is expected
            is_lost = bool(match.bare.get(expected.node)) and expected.node not in self._holders
            if not (is_bare and is_lost):
                yield expected

    def _is_added_to(self, name: str) -> bool:
        """Tell whether the file adds something to a value, which may be its bias."""
        seen, pending = {name}, [name]
        while pending:
            for consumer in self._consumers.get(pending.pop(), ()):
                # Operators that ONNX Runtime fuses begin so: BiasGelu, FastGelu.
                if consumer.kind in _ADDITIONS or consumer.kind.startswith(("Bias", "Fast")):
                    return True
                if consumer.kind in _MOVES:
                    pending += set(consumer.outputs) - seen
                    seen.update(consumer.outputs)
        return False

    def _right_operators(self, held: Sequence[Sequence[str]]) -> set[Operator]:
        """Return the operators whose values are the model's, or lead to right values only."""
        anchored = {name for names in held for name in self._anchors(names)}
        right: set[Operator] = set()

        def is_absorbed(name: str) -> bool:
            """Tell whether all that is computed from a value is right."""
            if name in self._graph.outputs:
                return False
            consumers = self._consumers.get(name, [])
            # Integers hide errors: they prove something only where nothing else is computed.
            floating = [consumer for consumer in consumers if self._is_floating(consumer)]
            return bool(consumers) and right.issuperset(floating or consumers)

        for operator in reversed(self._graph.operators):
            used = [n for n in operator.outputs if n in self._consumers or n in self._graph.outputs]
            if all(name in anchored or is_absorbed(name) for name in used or operator.outputs):
                right.add(operator)
        for operator in self._graph.operators:
            producers = [self._producer.get(name) for name in operator.inputs]
            if operator.kind in _COPIES and all(m is None or m in right for m in producers):
                right.add(operator)
        return right

    def _anchors(self, names: Sequence[str]) -> list[str]:
        """Return, of the file's values with the same numbers, the one that certainly is right.

        Where there are several, it is the one from which all others are computed. Another may
        hold these numbers by mistake: a transposition that does nothing, the wrong slice.
        """
        names = list(dict.fromkeys(names))
        if len(names) < 2:
            return names
        first = min(names, key=lambda name: self._producer[name].place)
        downstream = {self._producer[first], *self._downstream(self._producer[first])}
        return [first] if all(self._producer[name] in downstream for name in names) else []

    def _downstream(self, operator: Operator) -> list[Operator]:
        """Return every operator that needs a value of this one, in order."""
        found: set[Operator] = set()
        pending = [operator]
        while pending:
            for value in pending.pop().outputs:
                new = [o for o in self._consumers.get(value, ()) if o not in found]
                found.update(new)
                pending += new
        return sorted(found, key=lambda o: o.place)

    def _has_right_inputs(self, operator: Operator) -> bool:
        """Tell whether everything that an operator reads is computed by right ones."""
        producers = (self._producer.get(name) for name in operator.inputs)
        return all(producer is None or producer in self._right for producer in producers)

    def _is_floating(self, operator: Operator) -> bool:
        values = [self._graph.values.get(name) for name in operator.outputs]
        return any(value is None or value.is_floating_point() for value in values)

    def _error(self, operator: Operator, expected: Expected) -> float:
        value = self._graph.values.get(operator.outputs[0]) if operator.outputs else None
        if value is None:
            return math.inf
        return relative_error(in_shape(value, expected.exact.shape), expected.exact, "norm")

    def _are_related(self, operator: Operator, expected: Expected) -> bool:
        """Tell by kind, name and inputs whether an operator is meant to compute a value."""
        return (
            may_compute(operator.kind, expected.node)
            or self._have_same_name(operator, expected)
            or (
                self._read_same_values(operator, expected)
                and is_primitive(expected.node)
                and not any(may_compute(operator.kind, user) for user in expected.node.users)
            )  # but for what comes after it in the model, where the file leaves it out
        )

    def _read_same_values(self, operator: Operator, expected: Expected) -> bool:
        """Tell whether both compute something of the same values."""
        sources: list[set[str]] = []
        for node in expected.node.all_input_nodes:
            if node.op == "placeholder":
                sources.append({name for name in operator.inputs if name not in self._producer})
            elif node in self._holders:
                sources.append(self._holders[node])
        return all(source.intersection(operator.inputs) for source in sources) and all(
            any(name in source for source in sources) for name in operator.inputs
        )

    def _have_same_name(self, operator: Operator, expected: Expected) -> bool:
        return expected.node.name in operator.outputs

"""Layers over tokens on the rows of a matrix, one for each token of each image.

Over tokens a layer is a product and a sum; over rows it is one operator. ONNX Runtime makes one of
the two by itself, but only where it knows all sizes, and the batch size it does not. What takes a
token by itself (layer norms, activations, sums of two values) computes the same on rows, so that a
network is reshaped where attention begins and ends, which reshapes anyway.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor, fx

from bnconvert.graphs.aten import argument, aten, inserted_before
from bnconvert.torch_private.operators import is_elementwise
from bnconvert.torch_private.symbolic_sizes import are_same

_RESHAPES = (aten.reshape.default, aten.view.default)
_NORMS = (aten.layer_norm.default, aten.rms_norm.default)
_LINEAR, _SOFTMAX = aten.linear.default, aten.softmax.int
_REST = -1  # as large as what the other sizes leave
_MATRIX = 2  # axes

#: Returns which inputs an operator takes token by token; none where it is not such an operator.
Operands = Callable[[fx.Node], Sequence[fx.Node]]


def write_rows(graph: fx.Graph, inputs: Collection[str]) -> None:
    """Write layers over tokens on rows, where the graph gets no more operators by it.

    What is computed from constants alone stays: it is a constant in the file.

    Args:
        graph: of ATen operators, with an example of each value; is changed in place.
        inputs: the names of the placeholders that are no weights.
    """
    varying = set[fx.Node]()
    for node in graph.nodes:
        if node.name in inputs or not varying.isdisjoint(node.all_input_nodes):
            varying.add(node)
    for operands in (_operands, _operands_of_layers):
        for run in _runs([node for node in graph.nodes if node in varying], operands):
            if run.layers and run.layers >= run.reshapes:
                run.write()


@dataclass(frozen=True, eq=False)
class _Run:
    """Operators that take tokens one by one, each of which reads or is read by another.

    Attributes:
        nodes: the operators in order, and which of their inputs they take so.
    """

    nodes: dict[fx.Node, Sequence[fx.Node]]

    @property
    def layers(self) -> int:
        """How many additions are part of a layer on rows."""
        layers = (node for node in self.nodes if node.target is _LINEAR)
        return sum(argument(node, "bias") is not None for node in layers)

    @property
    def reshapes(self) -> float:
        """How many reshapes it takes; without end where a shape is not known in numbers."""
        ends = [node for node in self.nodes if self._other_users(node)]
        if any(_numbers(node) is None for node in ends):
            return float("inf")
        return len(ends) + sum(not self._is_reshaped_for_it(value) for value in self._entering())

    def write(self) -> None:
        """Put operators on rows in the place of those on tokens."""
        rows: dict[fx.Node, fx.Node] = {}
        for value in self._entering():
            reader = next(node for node, taken in self.nodes.items() if value in taken)
            source = value.args[0] if self._is_reshaped_for_it(value) else value
            sizes = [_REST, _width(value)]
            rows[value] = inserted_before(
                reader, aten.reshape.default, (source, sizes), _as_rows(value)
            )
        for node in self.nodes:
            args = fx.map_arg(node.args, lambda given: rows.get(given, given))
            kwargs = fx.map_arg(node.kwargs, lambda given: rows.get(given, given))
            if node.target is _SOFTMAX:
                args = (args[0], -1, *args[2:])
            rows[node] = inserted_before(node, node.target, args, _as_rows(node), kwargs)
        for value in reversed([*self._entering(), *self.nodes]):
            self._leave(value, rows[value])

    def _leave(self, value: fx.Node, rows: fx.Node) -> None:
        """Let a value be what its rows are, for what reads it as tokens."""
        for user in list(value.users) if value in self.nodes else []:
            if user.target in _RESHAPES:
                user.replace_input_with(value, rows)
        if value in self.nodes and value.users:
            value.args, value.kwargs = (rows, _numbers(value)), {}
            value.target = aten.reshape.default
        elif value.op == "call_function" and not value.users:
            value.graph.erase_node(value)

    def _entering(self) -> list[fx.Node]:
        read = dict.fromkeys(value for taken in self.nodes.values() for value in taken)
        return [value for value in read if value not in self.nodes]

    def _is_reshaped_for_it(self, value: fx.Node) -> bool:
        """Tell whether a value is a shape of another one, which nothing else reads."""
        return value.target in _RESHAPES and all(user in self.nodes for user in value.users)

    def _other_users(self, node: fx.Node) -> list[fx.Node]:
        """Return what reads a value as tokens; a reshape takes rows as well."""
        others = (user for user in node.users if user not in self.nodes)
        return [user for user in others if user.target not in _RESHAPES]


def _runs(nodes: Sequence[fx.Node], operands: Operands) -> Iterator[_Run]:
    """Yield the runs among some operators, each as long as can be."""
    taken = {node: found for node in nodes if (found := operands(node))}
    pending = dict.fromkeys(taken)
    while pending:
        run, ahead = set[fx.Node](), [next(iter(pending))]
        while ahead:
            node = ahead.pop()
            if node in pending:
                del pending[node]
                run.add(node)
                ahead += [*taken[node], *(u for u in node.users if node in taken.get(u, ()))]
        yield _Run({node: taken[node] for node in taken if node in run})


def _operands(node: fx.Node) -> Sequence[fx.Node]:
    """Return the inputs that an operator takes token by token; none where it is no such one."""
    if not _holds_tokens(node) or node.op != "call_function":
        return ()
    if is_elementwise(node.target):
        return _elementwise(node)
    axes = len(node.meta["val"].shape)
    if node.target is _LINEAR:
        fits = len(argument(node, "weight").meta["val"].shape) == _MATRIX
    elif node.target in _NORMS:
        fits = len(argument(node, "normalized_shape")) == 1
    else:
        fits = node.target is _SOFTMAX and argument(node, "dim") in (-1, axes - 1)
    first = node.args[0] if fits and node.args else None
    return (first,) if isinstance(first, fx.Node) and _holds_tokens(first) else ()


def _operands_of_layers(node: fx.Node) -> Sequence[fx.Node]:
    """Return the input of a layer or an activation, which alone may be all that is on rows."""
    found = _operands(node) if node.target not in (*_NORMS, _SOFTMAX) else ()
    return found if len(found) == 1 else ()


def _elementwise(node: fx.Node) -> Sequence[fx.Node]:
    """Return the inputs as large as the result, if others are the same for all tokens."""
    given = [(value, value.meta.get("val")) for value in node.all_input_nodes]
    tensors = [(value, held) for value, held in given if isinstance(held, Tensor)]
    many = {value: held.shape for value, held in tensors if held.dim() > 1}
    shape = node.meta["val"].shape
    return [*many] if all(are_same(sizes, shape) for sizes in many.values()) else ()


def _holds_tokens(node: fx.Node) -> bool:
    """Tell whether a value is a tensor of more axes than a matrix, the last of a known size."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.dim() <= _MATRIX:
        return False
    return isinstance(value.shape[-1], int) and value.shape[-1] > 0


def _width(node: fx.Node) -> int:
    return int(node.meta["val"].shape[-1])


def _numbers(node: fx.Node) -> list[int] | None:
    """Return a shape in numbers; None where more than one size is not known."""
    sizes = [size if isinstance(size, int) else _REST for size in node.meta["val"].shape]
    return sizes if sizes.count(_REST) <= 1 else None


def _as_rows(node: fx.Node) -> Tensor:
    """Return an example of the rows of a value."""
    value: Tensor = node.meta["val"]
    return value.new_empty((prod(value.shape[:-1]), _width(node)))

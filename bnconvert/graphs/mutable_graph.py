"""A captured graph while it is rewritten: constants in float64, and which operators share them."""

from collections import defaultdict
from operator import attrgetter

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from bnconvert.graphs.aten import argument, called_in, consumers_of
from bnconvert.numerics.channel_map import ChannelMap
from bnconvert.numerics.factored import Factored


def channelwise(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * x + shift: the operator that stands in the graph while it is folded."""
    return x * scale + shift


class MutableGraph:
    """A captured graph that is being rewritten.

    Whatever is changed is kept in float64 in main memory, wherever the model lies, until `commit`
    rounds it, once, to the dtype that its node had when it was captured, and puts it back. Weights
    are kept as factors, and multiplied out there.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        """Read the graph; nothing changes yet."""
        self.module = module
        self.fx_graph = module.graph
        self._copies: list[fx.Node] = []
        self._factored: dict[fx.Node, Factored] = {}
        #: Where in memory each constant lies, and which constants lie there.
        self._place: dict[fx.Node, int] = {}
        self._nodes_at: dict[int, set[fx.Node]] = defaultdict(set)
        #: The device to which each constant goes in the end.
        self._devices: dict[fx.Node, torch.device] = {}
        for node in self.fx_graph.find_nodes(op="get_attr"):
            self._register(node)

    def constant(self, node: object) -> Tensor | None:
        """Return the tensor that a node reads, floating-point ones in float64; or None."""
        value = self.factored(node)
        if value is None:
            return None
        return value.numbers() if value.stored.dtype.is_floating_point else value.stored

    def factored(self, node: object) -> Factored | None:
        """Return the tensor that a node reads, with what it was multiplied by; or None."""
        if isinstance(node, fx.Node) and node in self._factored:
            return self._factored[node]
        value = constant(self.module, node)
        return None if value is None else Factored(value.detach().cpu())

    def sharers(self, layer: fx.Node, node: fx.Node) -> set[fx.Node]:
        """Return the operators beside `layer` that read the memory of a constant."""
        return {
            consumer
            for same in self._nodes_at[self._place[node]]
            for consumer in consumers_of(same)
        } - {layer}

    def stays_finite(self, like: fx.Node, *values: Tensor | Factored | None) -> bool:
        """Tell whether all values have finite numbers in the dtype that `like` has in the model."""
        dtype, given = like.meta["val"].dtype, [value for value in values if value is not None]
        return all(_as_factored(value).is_finite_in(dtype) for value in given)

    def set_weights(self, layer: fx.Node, weight: Tensor | Factored, bias: Tensor | None) -> None:
        """Give a layer another weight and bias; what other operators read too stays theirs."""
        old_weight, old_bias = layer.args[1], argument(layer, "bias")
        assert isinstance(old_weight, fx.Node)
        new_weight = self._put(layer, old_weight, old_weight, "weight", weight)
        new_bias: fx.Node | None = None
        if bias is not None:
            new_bias = self._put(layer, old_bias, old_weight, "bias", bias)
        layer.args = (layer.args[0], new_weight, new_bias, *layer.args[3:])
        layer.kwargs = {k: v for k, v in layer.kwargs.items() if k not in ("weight", "bias")}

    def bias_of_owner(self, weight: fx.Node, layer: fx.Node, like: Tensor) -> fx.Node:
        """Return the bias of the module that owns `weight`, made where there is none yet."""
        owner = str(weight.target).rpartition(".")[0]
        found: list[fx.Node] = self.fx_graph.find_nodes(op="get_attr")
        for node in found:
            if node.target == f"{owner}.bias".lstrip("."):
                return node
        return self.add_constant(layer, "bias", like, weight.meta["val"].dtype, owner)

    def is_parameter(self, node: fx.Node) -> bool:
        """Tell whether a constant is a parameter of a module."""
        prefix, _, name = str(node.target).rpartition(".")
        return name in self.module.get_submodule(prefix)._parameters

    def add_constant(
        self,
        near: fx.Node,
        name: str,
        value: Tensor,
        dtype: torch.dtype,
        owner_path: str | None = None,
    ) -> fx.Node:
        """Add a tensor beside the node `near`; return the node that reads it.

        Args:
            near: the operator before which it is read.
            name: of the tensor; with a number where its owner has such a name already.
            value: the tensor.
            dtype: to which it is rounded in the end.
            owner_path: the module that gets it; by default the one whose forward calls `near`.
        """
        prefix = called_in(near) if owner_path is None else owner_path
        owner = self.module.get_submodule(prefix) if self._has_submodule(prefix) else self.module
        prefix = prefix if owner is not self.module else ""
        free, number = name, 0
        while getattr(owner, free, None) is not None:
            number += 1
            free = f"{name}_{number}"
        owner._parameters.pop(free, None)  # registered as None
        owner._buffers.pop(free, None)
        owner.register_parameter(free, nn.Parameter(value, requires_grad=False))
        with self.fx_graph.inserting_before(near):
            node = self.fx_graph.get_attr(f"{prefix}.{free}".lstrip("."))
        node.meta = {"val": torch.empty(value.shape, dtype=dtype, device="meta")}
        self._devices[node] = self._device_at(near)
        self._register(node)
        return node

    def replace_by_map(self, node: fx.Node, source: fx.Node, change: ChannelMap) -> fx.Node:
        """Replace an affine node by one that maps `source` by `change`; return that."""
        dtype = node.meta["val"].dtype
        scale = self.add_constant(node, "scale", change.scale, dtype)
        shift = self.add_constant(node, "shift", change.shift, dtype)
        with self.fx_graph.inserting_before(node):
            new = self.fx_graph.call_function(channelwise, (source, scale, shift))
        new.meta = dict(node.meta)
        self.replace(node, new)
        return new

    def replace(self, node: fx.Node, other: fx.Node) -> None:
        """Let all consumers of `node` read `other`; remove `node`."""
        node.replace_all_uses_with(other)
        self.fx_graph.erase_node(node)

    def commit(self) -> None:
        """Round what was changed, let equal copies of a weight be one again, remove the unused."""
        for node in self.fx_graph.find_nodes(op="get_attr"):
            factored, wanted = node in self._factored, node.meta.get("val")
            held = self.constant(node) if factored else constant(self.module, node)
            if held is None or wanted is None:
                continue
            place = wanted.dtype, self._devices[node]
            if factored or (held.dtype, held.device) != place:
                self.set_constant(node, held.to(wanted.dtype).to(self._devices[node]))
        kept: list[fx.Node] = []
        for node in self._copies:
            value = constant(self.module, node)
            same = (k for k in kept if alike(value, constant(self.module, k)))
            equal = next(same, None)
            if equal is None:
                kept.append(node)
            elif equal is not node:
                node.replace_all_uses_with(equal)
        self.fx_graph.eliminate_dead_code()
        self._remove_unused()

    def _put(
        self, layer: fx.Node, old: object, near: fx.Node, name: str, value: Tensor | Factored
    ) -> fx.Node:
        if isinstance(old, fx.Node) and old.op == "get_attr" and not self.sharers(layer, old):
            self.set_constant(old, value)
            return old
        value = _as_factored(value).numbers()
        dtype = (old if isinstance(old, fx.Node) else near).meta["val"].dtype
        owner = str(near.target).rpartition(".")[0] if near.op == "get_attr" else None
        new = self.add_constant(layer, name, value, dtype, owner)
        if isinstance(old, fx.Node):
            self._copies += [old, new]
        return new

    def set_constant(self, node: fx.Node, value: Tensor | Factored) -> None:
        """Put another tensor in the place of the one that a node reads, which it alone reads."""
        self._factored.pop(node, None)
        if isinstance(value, Factored):
            self._factored[node] = value
            return
        prefix, _, name = str(node.target).rpartition(".")
        owner = self.module.get_submodule(prefix)
        old = getattr(owner, name)
        if isinstance(old, nn.Parameter):
            value = nn.Parameter(value, requires_grad=False)
        setattr(owner, name, value)
        self._register(node)

    def _register(self, node: fx.Node) -> None:
        """Note where in memory a constant lies now."""
        value = constant(self.module, node)
        if value is not None:
            self._nodes_at[self._place.get(node, 0)].discard(node)
            self._devices.setdefault(node, value.device)
            self._place[node] = value.untyped_storage().data_ptr()
            self._nodes_at[self._place[node]].add(node)

    def _remove_unused(self) -> None:
        """Remove constants without a consumer, from the graph and from the module."""
        for node in list(self.fx_graph.nodes):
            if node.op == "get_attr" and not node.users:
                self.fx_graph.erase_node(node)
        read = {str(node.target) for node in self.fx_graph.nodes if node.op == "get_attr"}
        for name, _ in [*self.module.named_parameters(), *self.module.named_buffers()]:
            if name not in read:
                prefix, _, leaf = name.rpartition(".")
                delattr(self.module.get_submodule(prefix), leaf)
        self.fx_graph.lint()
        self.module.recompile()

    def _device_at(self, node: fx.Node) -> torch.device:
        """Return where an operator computes; one that a fold has put in may have no value yet."""
        near = [node, *node.all_input_nodes]
        made = pytree.tree_leaves([n.meta.get("val") for n in near if n.op != "get_attr"])
        devices = [x.device for x in made if isinstance(x, Tensor)]
        read = [self._devices[n] for n in near if n in self._devices]
        return next(iter((*devices, *read, *self._devices.values())), torch.device("cpu"))

    def _has_submodule(self, prefix: str) -> bool:
        """Tell whether the graph's module has a submodule at a dotted path."""
        try:
            self.module.get_submodule(prefix)
        except AttributeError:
            return False
        return True


def constant(module: fx.GraphModule, node: object) -> Tensor | None:
    """Return the tensor that a node reads from the module, or None where it is computed."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    value = attrgetter(str(node.target))(module)
    return value if isinstance(value, Tensor) else None


def _as_factored(value: Tensor | Factored) -> Factored:
    return value if isinstance(value, Factored) else Factored(value)


def alike(first: Tensor | None, second: Tensor | None) -> bool:
    """Tell whether two tensors are the same numbers in the same dtype, or both missing."""
    if first is None or second is None:
        return first is second
    kinds = [(tensor.dtype, tensor.device) for tensor in (first, second)]
    return kinds[0] == kinds[1] and torch.equal(first, second)

"""A captured graph whose layers are modules again, so that one can train it and convert it.

`torch.export` writes a layer as an operator on its weights. Here each convolution and linear layer
becomes an `nn.Conv2d` (or its like) at the path that held its weights, with the same state_dict
keys. Everything else stays an operator, as it was captured.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from bnconvert.graphs.aten import argument, aten
from bnconvert.graphs.capture.functionalizing import functional_module
from bnconvert.graphs.mutable_graph import constant
from bnconvert.modules.copies.copying import copy_model
from bnconvert.torch_private.operators import formals_of

_LAYERS: dict[Any, type[nn.Module]] = {
    aten.linear.default: nn.Linear,
    aten.conv1d.default: nn.Conv1d,
    aten.conv2d.default: nn.Conv2d,
    aten.conv3d.default: nn.Conv3d,
    aten.conv1d.padding: nn.Conv1d,
    aten.conv2d.padding: nn.Conv2d,
    aten.conv3d.padding: nn.Conv3d,
    aten.conv_transpose1d.default: nn.ConvTranspose1d,
    aten.conv_transpose2d.input: nn.ConvTranspose2d,
    aten.conv_transpose3d.input: nn.ConvTranspose3d,
}
_SETTINGS = ("stride", "padding", "output_padding", "dilation", "groups")


def layers_as_modules(graph: fx.GraphModule | ExportedProgram) -> fx.GraphModule:
    """Return a trainable copy of a captured graph in which layers are modules.

    Args:
        graph: of ATen operators, folded or not; it is not changed.
    """
    module = graph if isinstance(graph, fx.GraphModule) else functional_module(graph)
    copied = copy_model(module)
    assert isinstance(copied, fx.GraphModule)
    plain = fx.GraphModule(copied, copied.graph)  # whatever class or method refuses to train
    for node in list(plain.graph.nodes):
        layer = _layer(plain, node)
        if layer is not None:
            _put(plain, node, layer)
    plain.graph.eliminate_dead_code()
    plain.delete_all_unused_submodules()
    plain.graph.lint()
    plain.recompile()
    for parameter in plain.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return plain.eval()


def has_layer_operators(module: nn.Module) -> bool:
    """Tell whether a module is a captured graph in which some layer is an operator."""
    if not isinstance(module, fx.GraphModule):
        return False
    return any(node.target in _LAYERS for node in module.graph.nodes)


def _layer(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """Return the layer that an operator with stored weights is, or None."""
    layer_class = _LAYERS.get(node.target)
    if node.op != "call_function" or layer_class is None:
        return None
    weight, bias = (constant(module, argument(node, name)) for name in ("weight", "bias"))
    if weight is None or (bias is None and argument(node, "bias") is not None):
        return None
    with torch.device("meta"):
        layer = _empty_layer(layer_class, node, weight, with_bias=bias is not None)
    layer._parameters["weight"] = _parameter(weight)
    if bias is not None:
        layer._parameters["bias"] = _parameter(bias)
    return layer


def _empty_layer(
    layer_class: type[nn.Module], node: fx.Node, weight: Tensor, *, with_bias: bool
) -> nn.Module:
    """Return a layer with the settings of an operator, and weights that hold nothing."""
    if layer_class is nn.Linear:
        return nn.Linear(weight.shape[1], weight.shape[0], bias=with_bias)
    groups = int(argument(node, "groups"))
    names = [formal.name for formal in formals_of(node.target)]
    settings = {
        name: _spread(argument(node, name), weight.dim() - 2) for name in _SETTINGS if name in names
    }
    settings["groups"] = groups
    first, second = weight.shape[:2]
    is_transposed = "output_padding" in names
    channels = (first, second * groups) if is_transposed else (second * groups, first)
    return layer_class(*channels, tuple(weight.shape[2:]), bias=with_bias, **settings)


def _spread(value: Any, axes: int) -> Any:
    """Return a setting per axis, as modules hold it; "same" stays."""
    if not isinstance(value, list | tuple):
        return value
    return tuple(value) if len(value) == axes else tuple(value) * axes


def _parameter(value: Tensor) -> nn.Parameter:
    return value if isinstance(value, nn.Parameter) else nn.Parameter(value)


def _put(module: fx.GraphModule, node: fx.Node, layer: nn.Module) -> None:
    """Let a graph call a layer instead of an operator, at the path that held its weights."""
    path = _owner(module, node)
    held = module.get_submodule(path) if path else None
    if held is None or not _can_become(held, layer):
        path = f"layer_{node.name}"
        module.add_submodule(path, layer)
    elif not isinstance(held, type(layer)):
        parent, _, name = path.rpartition(".")
        module.get_submodule(parent)._modules[name] = layer
    with module.graph.inserting_before(node):
        call = module.graph.call_module(path, (node.args[0],))
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    module.graph.erase_node(node)


def _owner(module: fx.GraphModule, node: fx.Node) -> str:
    """Return the path of the module that holds a layer's weights under their usual names, or ""."""
    weight, bias = argument(node, "weight"), argument(node, "bias")
    owner, _, name = str(weight.target).rpartition(".")
    usual = name == "weight" and (bias is None or str(bias.target) == f"{owner}.bias")
    return owner if usual else ""


def _can_become(held: nn.Module, layer: nn.Module) -> bool:
    """Tell whether the holder of weights can be replaced by a layer, or is the same layer."""
    same = {k: id(v) for k, v in layer._parameters.items() if v is not None}
    own = {k: id(v) for k, v in held._parameters.items() if v is not None}
    if own != same or held._modules or any(True for _ in held.buffers()):
        return False
    is_bare = not isinstance(held, tuple(_LAYERS.values()))
    return is_bare or repr(held) == repr(layer)

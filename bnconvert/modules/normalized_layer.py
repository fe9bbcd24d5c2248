"""A convolution or linear layer with a norm of its own behind it, of a subclass of its class."""

import functools
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnconvert.modules.survey import traced

#: Layers whose weight has the output channels on axis 1, group by group; their subclasses too.
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
#: The layers that a batch norm may follow; their subclasses too.
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED, nn.Linear)
#: The name of the child that normalizes.
CHILD = "norm"
_NORMS: dict[int, type[_BatchNorm]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class NormalizedLayer(nn.Module):
    """What a layer's class computes, normalized by the child `norm`.

    It stands first among the bases of a class whose other base is the layer's, so that
    `isinstance`, the attributes and the state_dict keys of the layer stay: only those of the child
    are added. `type_of` makes that class.
    """

    norm: nn.Module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the layer's output, normalized."""
        return self.norm(super().forward(*args, **kwargs))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle and copy by the layer's class, since this one is made at run time."""
        this: Any = self  # torch has no types for it
        return _empty, (type(self).__bases__[1],), this.__getstate__()


@functools.cache
def type_of(layer_class: type[nn.Module]) -> type[nn.Module]:
    """Return the class of layers of `layer_class` with a norm behind them."""
    names = {"__module__": __name__, "__doc__": f"{layer_class.__name__} with a norm behind it."}
    return type(f"Normalized{layer_class.__name__}", (NormalizedLayer, layer_class), names)


def normalized(layer: nn.Module, norm: nn.Module, *, with_bias: bool) -> nn.Module:
    """Return a layer of a subclass with the same Parameters, hooks and attributes, and a norm.

    Args:
        layer: it is not changed.
        norm: its output is what the new layer returns.
        with_bias: whether the new layer has the layer's bias.
    """
    own_class: Any = type(layer)  # mypy holds modules for unhashable
    made = _with_state_of(layer, type_of(own_class))
    made._modules = {**layer._modules, CHILD: norm}
    if not with_bias:
        made._parameters = {**layer._parameters, "bias": None}
    return made


def without_bias(layer: nn.Module, weight: nn.Parameter | None = None) -> nn.Module:
    """Return a layer of the same class with the same Parameters but the bias, which is None.

    Args:
        layer: it is not changed.
        weight: if given, the new layer's weight.
    """
    made = _with_state_of(layer, type(layer))
    own = {} if weight is None else {"weight": weight}
    made._parameters = {**layer._parameters, **own, "bias": None}
    return made


def only_adds_bias(layer: nn.Module) -> bool:
    """Tell whether a layer's forward does nothing with its bias but add it to the output.

    Torch's own forwards do. One of another class is traced to see it.
    """
    if isinstance(layer, NormalizedLayer):
        layer = _with_state_of(layer, type(layer).__bases__[1])
    owner = next(base for base in type(layer).__mro__ if "forward" in vars(base))
    if owner.__module__.startswith("torch.nn."):
        return True
    graph = traced(layer).graph
    biases = [n for n in graph.nodes if n.op == "get_attr" and n.target == "bias"] if graph else []
    return bool(biases) and all(_is_bias_of(use, b) for b in biases for use in b.users)


def _is_bias_of(use: fx.Node, bias: fx.Node) -> bool:
    """Tell whether an operator adds a bias to the output of a convolution or linear map."""
    name = str(getattr(use.target, "__name__", ""))
    given = use.args[2] if len(use.args) > 2 else use.kwargs.get("bias")
    inputs = [node for node in use.all_input_nodes if node is bias]
    return name.startswith(("conv", "linear")) and given is bias and len(inputs) == 1


def channels_after(layer: nn.Module) -> int:
    """Return how many channels a layer's output has."""
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def spatial_axes(layer: nn.Module) -> int:
    """Return how many axes of a layer's output are neither the batch's nor the channels'."""
    return 0 if isinstance(layer, nn.Linear) else len(layer.kernel_size)  # type: ignore[arg-type]


def norm_after(layer: nn.Module, eps: float) -> _BatchNorm:
    """Return a new batch norm for a layer's output, of its device, dtype and mode."""
    weight: Any = layer.weight
    made = _NORMS[max(spatial_axes(layer), 1)](
        channels_after(layer), eps=eps, device=weight.device, dtype=weight.dtype
    )
    return made.train(layer.training)


def _with_state_of(layer: nn.Module, new_class: type[nn.Module]) -> nn.Module:
    """Return a module of another class that has everything that a layer has."""
    made = new_class.__new__(new_class)
    vars(made).update(vars(layer))
    return made


def _empty(layer_class: Any) -> nn.Module:
    """Return a layer with a norm behind it that has no state yet."""
    made_class: Any = type_of(layer_class)  # mypy holds modules for unhashable
    made: nn.Module = made_class.__new__(made_class)
    return made

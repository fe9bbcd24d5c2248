"""Random weights as after training: every norm fits what it sees, and every branch matters."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from bnconvert.graphs.example import Example, Inputs

#: Constants up to this size are starting values, such as LayerScale's, that training moves.
STARTING = 1e-2


def randomized(
    model: nn.Module, example: Inputs, seed: int = 0, *, negative: float = 0.1
) -> nn.Module:
    """Give every norm affine and statistics as after training, in place; return it in eval mode.

    Weights are in [0.5, 1.5], a share `negative` of them with the other sign; biases are normal
    with deviation 0.3. Statistics are those of what arrives in one forward, jittered, so that
    values keep their size through the network; norms that it does not reach get random ones.
    Vectors that start as one tiny constant (LayerScale, gates, biases) get values that matter.
    """
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    with torch.no_grad():
        norms = [module for module in model.modules() if _is_norm(module)]
        for norm in norms:
            _set_affine(norm, generator, negative)
        for name, vector in _starting_vectors(model, norms):
            if name.endswith("bias"):
                vector.copy_(_normal(vector, 0.1, generator))
            else:
                vector.copy_(_uniform(vector, 0.1, 1.0, generator))
        _measure(model, norms, Example.of(example), generator)
    return model


def _is_norm(module: nn.Module) -> bool:
    """Tell whether a module keeps statistics, frozen norms of any package included."""
    buffers = {name: buffer for name, buffer in module._buffers.items() if buffer is not None}
    return {"running_mean", "running_var"} <= buffers.keys()


def _set_affine(norm: nn.Module, generator: torch.Generator, negative: float) -> None:
    mean, var = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    mean.copy_(_normal(mean, 0.5, generator))
    var.copy_(_uniform(var, 0.5, 2.0, generator))
    weight, bias = (getattr(norm, name, None) for name in ("weight", "bias"))
    if weight is not None:
        signs = torch.where(_uniform(weight, 0, 1, generator) < negative, -1.0, 1.0)
        weight.copy_(_uniform(weight, 0.5, 1.5, generator) * signs)
    if bias is not None:
        bias.copy_(_normal(bias, 0.3, generator))
    if isinstance(norm, _NormBase) and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.fill_(100)


def _starting_vectors(model: nn.Module, norms: list[nn.Module]) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters, one value per channel, that are one tiny constant."""
    taken = {id(parameter) for norm in norms for parameter in norm.parameters(recurse=False)}
    for name, parameter in model.named_parameters():
        if id(parameter) in taken or not parameter.numel():
            continue
        first = parameter.flatten()[0]
        is_vector = parameter.numel() == max(parameter.shape, default=1)
        if is_vector and abs(float(first)) <= STARTING and bool((parameter == first).all()):
            yield name, parameter


def _measure(
    model: nn.Module, norms: list[nn.Module], example: Example, generator: torch.Generator
) -> None:
    """Run the model once; every norm takes the statistics of its first input before it runs."""
    handles = []

    def take(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        if norm in waiting and inputs and isinstance(inputs[0], Tensor) and inputs[0].numel():
            waiting.remove(norm)
            _fit(norm, inputs[0], generator)

    waiting = set(norms)
    for norm in norms:
        handles.append(norm.register_forward_pre_hook(take))
    try:
        model(*example.args, **example.kwargs)
    finally:
        for handle in handles:
            handle.remove()


def _fit(norm: nn.Module, arriving: Tensor, generator: torch.Generator) -> None:
    channels = arriving.double().transpose(0, 1).flatten(1)
    var, mean = torch.var_mean(channels, 1, correction=0)
    typical = var.mean()
    if not torch.isfinite(typical) or typical < 1e-12:
        return
    var = (var + 0.1 * typical) * _uniform(var, 0.7, 1.4, generator)
    mean = mean + var.sqrt() * _uniform(mean, -0.3, 0.3, generator)
    norm.get_buffer("running_mean").copy_(mean)
    norm.get_buffer("running_var").copy_(var)


def _uniform(like: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    return (low + (high - low) * torch.rand(like.shape, generator=generator)).to(like.dtype)


def _normal(like: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    return (deviation * torch.randn(like.shape, generator=generator)).to(like.dtype)

"""A topology: a small model around a norm, and what folding must make of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo import Model, laid_out, trained

Shape = tuple[int, ...]
IMAGE: Shape = (2, 4, 8, 8)


@dataclass(frozen=True)
class Topology:
    """A way to build a model, inputs for it, and what must hold of the folded graph.

    Attributes:
        name: the row of the matrix of field/FOLD.md, where it is one of its rows.
        build: the model, with weights as torch draws them.
        shapes: of the inputs.
        gone: how many norm calls are folded; None where it is no norm that torch knows.
        standing: a part of the reason of each norm call that stands, in order.
        convs: at most so many convolutions are left.
        arithmetic: at most so many additions, subtractions, products and quotients are left.
        positive: every scale is positive; else each norm has a negative one.
        adjust: what else to change once the statistics are drawn.
        dtype: of the model and its inputs in the second test, and in the file.
        memory_format: of the model and its inputs.
        dynamic: it is captured with a dynamic batch size, and tried with another: where the
            operators read sizes. (Every export has a dynamic batch size and is tried with more.)
        requires: the package that it is built from.
        unexportable: the error in place of an ONNX file.
    """

    name: str
    build: Callable[[], nn.Module]
    shapes: tuple[Shape, ...] = (IMAGE,)
    gone: int | None = 1
    standing: tuple[str, ...] = ()
    convs: int | None = None
    arithmetic: int | None = None
    positive: bool = False
    adjust: Callable[[Any], object] | None = None
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.contiguous_format
    dynamic: bool = False
    requires: str | None = None
    unexportable: type[Exception] | None = None

    def model(self) -> nn.Module:
        """Build the model in eval mode, always with the same weights and statistics."""
        torch.manual_seed(0)
        with torch.no_grad():
            model = seasoned(self.build(), positive=self.positive).to(self.dtype)
            if self.memory_format is torch.channels_last:
                laid_out(model, self.memory_format)
            if self.adjust is not None:
                self.adjust(model)
        return model

    def inputs(self) -> tuple[Tensor, ...]:
        """Draw the inputs, always the same."""
        generator = torch.Generator().manual_seed(1)
        drawn = (torch.randn(shape, generator=generator).to(self.dtype) for shape in self.shapes)
        return tuple(x.contiguous(memory_format=self.memory_format) for x in drawn)


def seasoned(model: Model, *, positive: bool = False) -> Model:
    """Give every norm statistics and affine as after training, and a negative scale unless told.

    So too the norms that torch does not know: modules with running statistics as buffers.
    """
    trained(model)
    generator = torch.Generator().manual_seed(2)

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(like.shape, generator=generator)).to(like.dtype)

    for module in model.modules():
        tensors = {**module._buffers, **module._parameters}
        mean, var, weight = (tensors.get(k) for k in ("running_mean", "running_var", "weight"))
        if mean is None or var is None:
            continue
        if "bias" in module._buffers:
            mean.copy_(uniform(mean, -0.5, 0.5))
            var.copy_(10 ** uniform(var, -1, 1))
            module.get_buffer("weight").copy_(uniform(mean, 0.5, 1.5))
            module.get_buffer("bias").copy_(uniform(mean, -0.5, 0.5))
        if weight is not None:
            weight.abs_()
            if not positive:
                weight[::3] *= -1
    return model


def without_shift(model: nn.Module) -> None:
    """Take the shift out of every norm, so that only its scale is left."""
    for module in model.modules():
        mean, bias = (getattr(module, name, None) for name in ("running_mean", "bias"))
        if mean is not None:
            mean.zero_()
            if bias is not None:
                bias.zero_()

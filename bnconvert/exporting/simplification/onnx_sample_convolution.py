"""A convolution in which each sample has its own kernel, as CondConv's (Yang et al., 2019).

torch computes it as one grouped convolution: the samples are channels of a single image, and there
are as many groups as samples, times those of the layer. ONNX's Conv has its number of groups as an
attribute, which the batch size cannot be. A Scan over the samples convolves one at a time.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx

from bnconvert.graphs.aten import argument, aten

#: What stands in a graph for such a convolution; torch captures no other with this operator.
_MARK = aten._convolution.default
#: A size that is a multiple of the batch size, as sympy prints it.
_MULTIPLE = re.compile(r"(?:(\d+)\*)?([A-Za-z_]\w*)")


def mark(node: fx.Node) -> None:
    """Mark a convolution whose number of groups the batch size decides."""
    if not isinstance(argument(node, "groups"), fx.Node):
        return
    names = "input", "weight", "bias", "stride", "padding", "dilation", "groups"
    *first, groups = (argument(node, name) for name in names)
    if isinstance(first[4], str):
        return  # "same" padding
    further = [0] * len(first[3])
    node.args = (*first, False, further, groups, False, False, False, False)
    node.kwargs, node.target = {}, _MARK


def translations() -> Mapping[Any, Callable[..., Any]]:
    """Return how torch.onnx is to write what is marked."""
    from onnxscript import opset18

    op: Any = opset18  # its operators declare each tensor's dtype

    def each_sample(
        input: Any,
        weight: Any,
        bias: Any,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        transposed: bool,
        output_padding: Sequence[int],
        groups: Any,
        benchmark: bool,
        deterministic: bool,
        cudnn_enabled: bool,
        allow_tf32: bool,
    ) -> Any:
        channels, filters, kernel = _sizes(input, weight)
        samples = [
            op.Reshape(input, _shape_of_samples(op, input, channels)),
            op.Reshape(weight, op.Constant(value_ints=[-1, filters, *kernel])),
        ]
        if bias is not None:
            samples.append(op.Reshape(bias, op.Constant(value_ints=[-1, filters])))
        body = _convolution(samples, stride, padding, dilation, channels // kernel[0])
        result = op.Scan(*samples, body=body, num_scan_inputs=len(samples))
        ends = op.Shape(result, start=3)
        return op.Reshape(result, op.Concat(op.Constant(value_ints=[1, -1]), ends, axis=0))

    return {_MARK: each_sample}


def _shape_of_samples(op: Any, image: Any, channels: int) -> Any:
    """Return the shape in which each sample of an image of all samples is one of its own."""
    _, _, *sizes = image.shape
    if all(isinstance(size, int) for size in sizes):
        return op.Constant(value_ints=[-1, 1, channels, *sizes])
    first = op.Constant(value_ints=[-1, 1, channels])
    return op.Concat(first, op.Shape(image, start=2), axis=0)


def _sizes(image: Any, weight: Any) -> tuple[int, int, list[int]]:
    """Return how many channels and filters a sample has, and the sizes of a filter.

    Raises:
        ValueError: they depend on more than the batch size, or there are several images.
    """
    if image.shape[0] != 1:
        raise ValueError("the samples of a convolution are not channels of a single image")
    channels, image_batch = _multiple(image.shape[1])
    filters, weight_batch = _multiple(weight.shape[0])
    kernel = [*weight.shape][1:]
    if image_batch != weight_batch or not all(isinstance(size, int) for size in kernel):
        raise ValueError("the kernels of a convolution are not one for each sample")
    return channels, filters, kernel


def _multiple(size: Any) -> tuple[int, str]:
    """Return the number in a size such as 8 * batch, and the rest of it."""
    match = _MULTIPLE.fullmatch(str(size))
    if match is None:
        raise ValueError(f"the number of a convolution's channels, {size}, is not a multiple")
    return int(match[1] or 1), match[2]


def _convolution(
    samples: Sequence[Any],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Any:
    """Return the graph that is run for each sample; its names are no others'."""
    import onnx_ir

    name = f"{samples[0].name}_of_sample"
    settings = {"strides": stride, "pads": [*padding, *padding], "dilations": dilation}
    inputs = [onnx_ir.Value(name=f"{name}_{place}") for place in range(len(samples))]
    node = onnx_ir.node("Conv", inputs, settings | {"group": groups})
    node.outputs[0].name = f"{name}_convolved"
    return onnx_ir.Graph(inputs, node.outputs, nodes=[node], name=name)

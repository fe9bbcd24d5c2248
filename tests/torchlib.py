"""torch.onnx parses the same 500 functions at each export, most of the time of a small one.

Tests keep what it made of them. Where a release of torch has it elsewhere, they are only slower.
"""

import functools
from typing import Any

import torch


def parse_once() -> None:
    """Let `torch.onnx.export` build its registry of operators once in a process."""
    export = torch.onnx.export

    @functools.wraps(export)
    def with_registry(*args: Any, **kwargs: Any) -> Any:
        _keep_registry()
        return export(*args, **kwargs)

    torch.onnx.export = with_registry


@functools.cache
def _keep_registry() -> None:
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:
        return
    built = functools.cache(ONNXRegistry.from_torchlib)

    def from_torchlib(*opset: int, **named: int) -> ONNXRegistry:
        kept, given = built(*opset, **named), ONNXRegistry()
        vars(given).update(vars(kept))
        given.functions = {name: [*ways] for name, ways in kept.functions.items()}
        return given

    ONNXRegistry.from_torchlib = staticmethod(from_torchlib)  # type: ignore[method-assign]

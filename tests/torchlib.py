"""What torch does anew each time though it is the same: most of the time of a small test.

torch.onnx parses 500 functions at each export, and looks twice through 30 namespaces for operators
made of others: tests keep what it found. Where a release of torch has it elsewhere, they are only
slower.
"""

import functools
from typing import Any

import torch


def parse_once() -> None:
    """Let `torch.onnx.export` build its tables of operators once in a process."""
    export = torch.onnx.export

    @functools.wraps(export)
    def with_registry(*args: Any, **kwargs: Any) -> Any:
        _keep_registry()
        _keep_composites()
        return export(*args, **kwargs)

    torch.onnx.export = with_registry


def seed_the_processor_alone() -> None:
    """Let `torch.manual_seed` write no stack down for accelerators that are not there."""
    if not torch.accelerator.is_available():
        torch.manual_seed = torch.default_generator.manual_seed


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


@functools.cache
def _keep_composites() -> None:
    try:
        from torch._export import utils
        from torch.export import decomp_utils, exported_program

        find = utils._collect_all_valid_cia_ops
        registered = torch._C._dispatch_get_registrations_for_dispatch_key
    except (ImportError, AttributeError):
        return
    # A test may register operators: where there are others than before, they are looked for again.
    found = functools.cache(lambda names, namespaces: find())

    def composites() -> set[Any]:
        names = frozenset(registered("CompositeImplicitAutograd"))
        return {*found(names, tuple(torch.ops._dir))}

    for module in (utils, decomp_utils, exported_program):
        if hasattr(module, find.__name__):
            setattr(module, find.__name__, composites)

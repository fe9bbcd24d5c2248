"""What `torch.compile` made, and how to run without it, without importing the compiler.

Stands in for public ways to ask whether a module is compiled, and for a `torch.compiler.set_stance`
that does not import `torch._dynamo`, which takes seconds. Known to work since torch 2.10.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def is_compiled(model: nn.Module) -> bool:
    """Tell whether `torch.compile(model)` made this module."""
    compiler = _loaded_compiler()
    return compiler is not None and isinstance(model, compiler.OptimizedModule)


def is_compiled_in_place(module: nn.Module) -> bool:
    """Tell whether `module.compile()` has replaced the call of this module."""
    return vars(module).get("_compiled_call_impl") is not None


@contextmanager
def uncompiled() -> Iterator[None]:
    """Within the block, run what torch.compile made as its own Python code, eagerly."""
    if _loaded_compiler() is None:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _loaded_compiler() -> Any:
    """Return `torch._dynamo` where it is loaded: before that, nothing can be compiled."""
    if "torch._dynamo" not in sys.modules:
        return None
    # Another thread may be in the middle of importing it, for which this waits.
    return importlib.import_module("torch._dynamo")

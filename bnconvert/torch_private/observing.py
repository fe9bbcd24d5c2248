"""The context in which a model is run only to observe it."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from bnconvert.numerics.random_state import preserved_random_state


@contextmanager
def observing() -> Iterator[None]:
    """Run without gradients and uncompiled, and leave the random state as it was."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(preserved_random_state())
        if "torch._dynamo" in sys.modules:  # else nothing can be compiled, and importing it is slow
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield

"""Ambient modes: what a verb does depends on no mode of torch that its caller happens to be in.

Inside of `torch.no_grad` no gradient shows which weights an output depends on; what is made inside
of `torch.inference_mode` can never be trained; and a graph that is captured under autocast has the
casts of that moment in it. Where a process lets float32 be rounded to less, so do references.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor

from bnconvert.numerics.float32_precision import full_float32

_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def usual_modes() -> Iterator[None]:
    """Leave the caller's no_grad, inference mode, autocast and lowered precision of float32.

    For this context or function.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(full_float32())
        yield


def writing_to(*tensors: Tensor) -> AbstractContextManager[None]:
    """Return a context in which torch writes into tensors: some are from inference mode."""
    made_there = any(tensor.is_inference() for tensor in tensors)
    return torch.inference_mode() if made_there else torch.no_grad()

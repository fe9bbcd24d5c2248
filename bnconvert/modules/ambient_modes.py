"""Ambient modes: what a verb does depends on no mode of torch that its caller happens to be in.

Inside of `torch.no_grad` no gradient shows which weights an output depends on; what is made inside
of `torch.inference_mode` can never be trained; and a graph that is captured under autocast has the
casts of that moment in it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def usual_modes() -> Iterator[None]:
    """Leave the caller's no_grad, inference mode and autocast, for this context or function."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield

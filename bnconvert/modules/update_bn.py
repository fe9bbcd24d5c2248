"""torch's `update_bn`, which averages the statistics of torch's own norms only."""

import inspect

import torch
from torch.optim import swa_utils

_UPDATE_BN = inspect.unwrap(swa_utils.update_bn).__code__


def refuse_update_bn() -> None:
    """Raise inside torch's `update_bn`, which resets and averages only torch's own norms.

    It runs a forward only where the model still has some; without, it returns at once.

    Raises:
        RuntimeError: with what to call instead.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return  # update_bn runs without gradients
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is _UPDATE_BN:
            raise RuntimeError(
                "update_bn resets and averages only torch's own batch norms, and not those of "
                "bnconvert; use bnconvert.recompute_statistics(model, batches) for all of them"
            )
        frame = frame.f_back

"""Placement: the device on which a model lies."""

import itertools

import torch
from torch import nn


def device_of(model: nn.Module) -> torch.device | None:
    """Return the device of all parameters and buffers; None where they lie on several, or none."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    devices = {tensor.device for tensor in tensors}
    return devices.pop() if len(devices) == 1 else None

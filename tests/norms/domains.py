"""Norms of two domains, and batches for them."""

from typing import Any

import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite
from bnconvert.norms.separate_norm import SeparateNorm
from tests.submodules import submodule
from tests.zoo import trained

CLASSES = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}

POSITIONS = {2: (), 3: (7,), 4: (4, 3), 5: (2, 3, 2)}

EACH = [bnc.Keep(), bnc.Ghost(2), bnc.Renorm(), bnc.Sync()]

LABELS = [[0, 0, 0, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0, 1], [1, 1, 1, 1, 0, 0, 0]]

DOMAINS = ("source", "target")


def batch(samples: int = 7, dimensions: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 5, *POSITIONS[dimensions], generator=generator, dtype=torch.float64)
    return x * 3 + 2 + seed


def plain(dimensions: int = 4) -> nn.Module:
    return trained(CLASSES[dimensions](5)).double().train()


def separate(norm: nn.Module | None = None, **settings: Any) -> SeparateNorm:
    converted = bnc.convert(plain() if norm is None else norm, bnc.Separate(**settings))
    return submodule(converted, "", SeparateNorm).train()


def alone(norm: nn.Module, each: Rewrite) -> nn.Module:
    """One domain's norm, by itself."""
    return bnc.convert(norm, each).train()

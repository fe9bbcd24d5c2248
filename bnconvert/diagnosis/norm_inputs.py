"""The shapes that reach each norm on example inputs: how many samples, how many values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example
from bnconvert.modules.copying import replicate
from bnconvert.modules.preserving import preserved
from bnconvert.modules.site import Site
from bnconvert.numerics.random_state import preserved_random_state


@dataclass(frozen=True)
class NormInput:
    """The smallest input that a norm had in one forward.

    Attributes:
        images: its samples, N.
        values: the normalization batch, N x H x W: how many values of a channel are normalized
            together.
    """

    images: int
    values: int

    @property
    def values_per_image(self) -> int:
        """The positions of one sample, H x W; 1 for (N, C)."""
        return self.values // max(self.images, 1)


def norm_inputs(
    model: nn.Module, example: Example, sites: Sequence[Site]
) -> Mapping[str, NormInput]:
    """Return by path the smallest input of each norm that an eval forward of a copy calls.

    Args:
        model: it is neither run nor changed.
        example: its inputs.
        sites: its norms.

    Raises:
        Exception: whatever the forward raises.
    """
    seen: dict[str, NormInput] = {}
    with preserved(model), preserved_random_state():
        replica = replicate(model)
        held = dict(replica.named_modules())
        for site in sites:
            if site.path in held:
                hook = _Noting(site.path, seen)
                held[site.path].register_forward_pre_hook(hook, with_kwargs=True)
        with torch.no_grad():
            replica(*example.args, **example.kwargs)
    return seen


class _Noting:
    """A hook before a norm that notes the shape of its input."""

    def __init__(self, path: str, seen: dict[str, NormInput]) -> None:
        self.path, self.seen = path, seen

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the input if it is the smallest one."""
        x = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        if x is None or x.dim() < 2:
            return
        arrived = NormInput(x.shape[0], x.shape[0] * prod(x.shape[2:]))
        known = self.seen.get(self.path)
        if known is None or arrived.values < known.values:
            self.seen[self.path] = arrived

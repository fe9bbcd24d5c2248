"""The shapes that reach each norm on example inputs: how many samples, how many values."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example
from bnconvert.modules.copies.copying import replicate
from bnconvert.modules.copies.preserving import preserved
from bnconvert.modules.site import Site
from bnconvert.numerics.random_state import preserved_random_state


@dataclass(frozen=True)
class NormInput:
    """The smallest input that a norm had in one forward.

    Attributes:
        images: its samples, N.
        values: the normalization batch, N x H x W: how many values of a channel are normalized
            together.
        calls: how often the forward called it.
    """

    images: int
    values: int
    calls: int = 1

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
    watch = NormInputWatch(sites)
    with preserved(model), preserved_random_state():
        replica = replicate(model)
        with watch.watching(replica), torch.no_grad():
            replica(*example.args, **example.kwargs)
    return watch.seen


class NormInputWatch:
    """Notes what reaches each norm while a copy of a model runs.

    Attributes:
        seen: by path, the smallest input, and the number of calls.
        complete: whether an eval forward was watched to its end.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        """Begin with nothing seen.

        Args:
            sites: the norms.
        """
        self.seen: dict[str, NormInput] = {}
        self.complete = False
        self._sites = sites

    @contextmanager
    def watching(self, copy: nn.Module) -> Iterator[None]:
        """Watch a forward of a copy, in which norms have the paths that they have in the model."""
        held, handles = dict(copy.named_modules()), []
        for site in self._sites:
            if site.path in held:
                hook = _Noting(site.path, self.seen)
                module = held[site.path]
                handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        try:
            yield
            self.complete = not any(module.training for module in held.values())
        finally:
            for handle in handles:
                handle.remove()


class _Noting:
    """A hook before a norm that notes the shape of its input."""

    def __init__(self, path: str, seen: dict[str, NormInput]) -> None:
        self.path, self.seen = path, seen

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note a call, and its input if it is the smallest one."""
        x = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        if x is None or x.dim() < 2:
            return
        arrived = NormInput(x.shape[0], x.shape[0] * prod(x.shape[2:]))
        known = self.seen.get(self.path)
        smallest = arrived if known is None or arrived.values < known.values else known
        calls = 1 if known is None else known.calls + 1
        self.seen[self.path] = replace(smallest, calls=calls)

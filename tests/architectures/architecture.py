"""Architecture: one model by its name, how to build it, and inputs that it takes."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.architectures.randomizing import randomized

Inputs = tuple[Any, ...] | dict[str, Any]


@dataclass(frozen=True)
class Architecture:
    """A real model, without weights from any network.

    Attributes:
        group: the package that it comes from, or what it is for.
        name: as the package calls it, or as close as it gets.
        build: makes it, in eval mode.
        inputs: makes small inputs that it takes.
        is_trained: whether it comes with trained weights; else they are random.
        family: what it is one of, where it is in the zoo for that.
    """

    group: str
    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    is_trained: bool = False
    family: str = ""

    @property
    def full_name(self) -> str:
        """The name, and the group before it, since packages share names."""
        return f"{self.group}:{self.name}"

    def make(self, seed: int = 0, *, negative: float = 0.1) -> tuple[nn.Module, Inputs]:
        """Build the model and its inputs, always the same ones for a seed.

        What is not trained gets weights as `randomized` makes them.
        """
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the packages' own, on what they will remove
            model, inputs = self.build().eval(), self.inputs()
            if not self.is_trained:
                randomized(model, inputs, seed, negative=negative)
        return model, inputs


def words(text: str) -> tuple[str, ...]:
    """Return the names that stand in a text."""
    return tuple(text.split())


def images(size: int = 128, batch: int = 2) -> Callable[[], Inputs]:
    """Return what makes one batch of square images."""
    return lambda: (torch.randn(batch, 3, size, size),)


def image_list(size: int = 128) -> Callable[[], Inputs]:
    """Return what makes two images of different sizes in a list, as detectors take them."""

    def make() -> Inputs:
        pair: list[Tensor] = [torch.rand(3, size, size), torch.rand(3, size, size - 32)]
        return (pair,)

    return make

"""The context in which a model is run only to observe it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.torch_private.compilation import uncompiled


@contextmanager
def observing() -> Iterator[None]:
    """Run without gradients and uncompiled, and leave the random state as it was."""
    with torch.no_grad(), preserved_random_state(), uncompiled():
        yield

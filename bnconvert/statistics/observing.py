"""The context in which a model is run only to observe it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from bnconvert.modules.ambient_modes import writing_to
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.torch_private.compilation import uncompiled


@contextmanager
def observing(*written: Tensor) -> Iterator[None]:
    """Run without gradients and uncompiled, and leave the random state as it was.

    Args:
        written: what is written to meanwhile.
    """
    with writing_to(*written), preserved_random_state(), uncompiled():
        yield

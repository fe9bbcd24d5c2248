from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """Have CUDA compute in float32 what is float32, and do the same twice."""
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False):
        yield

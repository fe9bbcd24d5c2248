"""Which torch the tests run with: what an older one cannot do is skipped, with the reason."""

import pytest
import torch

RELEASE = tuple(int(part) for part in torch.__version__.split(".")[:2])


def needs_torch(major: int, minor: int, why: str) -> pytest.MarkDecorator:
    """Skip a test with an older torch.

    Args:
        major: of the first release that passes.
        minor: of the same.
        why: what is wrong with the older ones.
    """
    reason = f"before torch {major}.{minor}, {why}"
    return pytest.mark.skipif((major, minor) > RELEASE, reason=reason)

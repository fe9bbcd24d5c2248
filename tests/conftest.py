"""Every test starts from the same random numbers, and no test reaches for a hub.

torch is imported where it is used: xdist's controller reads this file too, and starts its workers
only then.
"""

import gc
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import distributed as dist

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("COLUMNS", None)  # of the terminal that the workers do not have


@pytest.fixture(scope="session", autouse=True)
def _prepared() -> None:
    import torch

    from tests.torchlib import parse_once, seed_the_processor_alone

    # The models are tiny, and the suite runs in as many processes as there are cores.
    torch.set_num_threads(1)
    parse_once()
    seed_the_processor_alone()
    # The modules that are imported and the tests that are collected are never garbage. To look
    # through them at Python's own pace, again and again, is a seventh of the suite's time.
    gc.freeze()
    gc.set_threshold(20_000, 10, 3)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture
def lone_process_group(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[dist.ProcessGroup]":
    """Give a process group of one process."""
    from torch import distributed as dist

    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    try:
        group = dist.new_group([0])
        assert isinstance(group, dist.ProcessGroup)
        yield group
    finally:
        dist.destroy_process_group()

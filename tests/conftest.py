"""Every test starts from the same random numbers, and no test reaches for a hub."""

import os
from collections.abc import Iterator

import pytest
import torch
from torch import distributed as dist

from tests.torchlib import parse_once

os.environ["HF_HUB_OFFLINE"] = "1"
# The models are tiny, and the suite runs in as many processes as there are cores.
torch.set_num_threads(1)
os.environ.pop("COLUMNS", None)  # of the terminal that the workers do not have
parse_once()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def lone_process_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dist.ProcessGroup]:
    """Give a process group of one process."""
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    try:
        group = dist.new_group([0])
        assert isinstance(group, dist.ProcessGroup)
        yield group
    finally:
        dist.destroy_process_group()

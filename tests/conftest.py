"""Every test starts from the same random numbers, and no test reaches for a hub."""

import os

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
# The models are tiny, and the suite runs in as many processes as there are cores.
torch.set_num_threads(1)
os.environ.pop("COLUMNS", None)  # of the terminal that the workers do not have


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)

"""The processes of a group, forked from one that has imported torch.

Processes that start from nothing import torch and the tests, each for longer than it then works.
"""

import multiprocessing
from collections.abc import Callable
from typing import Final

from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import start_processes

FORKSERVER: Final = "forkserver"

Worker = Callable[[int, int, str], None]


def run_all(worker: Worker, world: int, folder: str) -> None:
    """Run worker(rank, world, folder) in as many processes; a failure of one ends all."""
    multiprocessing.set_forkserver_preload([worker.__module__])
    start_processes(worker, (world, folder), nprocs=world, start_method=FORKSERVER)


def start_all(worker: Worker, world: int, folder: str) -> None:
    """Run them of which one is killed: the others are left alone, as a cluster leaves them."""
    multiprocessing.set_forkserver_preload([worker.__module__])
    context = get_context(FORKSERVER)
    processes = [
        context.Process(target=worker, args=(rank, world, folder)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode is not None, "it hangs"

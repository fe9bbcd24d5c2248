"""Processes of which one is killed: the others are left alone, as a cluster leaves them."""

from collections.abc import Callable

from torch.multiprocessing import get_context


def start_all(worker: Callable[[int, int, str], None], world: int, folder: str) -> None:
    """Run worker(rank, world, folder) in as many processes, and wait for all of them."""
    context = get_context("spawn")
    processes = [
        context.Process(target=worker, args=(rank, world, folder)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode is not None, "it hangs"

"""What each rank does while the tests of ranks watch."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import bnconvert as bnc
from tests.precise import farthest, statistics_of
from tests.statistics.test_layerwise import Paths, SharedHead
from tests.zoo import Residual, trained

#: The batches of each rank: unequal shares, and one without any data.
SHARES: tuple[list[int], ...] = ([4, 2], [6], [], [3, 4, 2])


SCENARIOS: dict[str, tuple[type[nn.Module], Any]] = {
    "layerwise": (Residual, "layerwise"),
    "aggregate": (Residual, "aggregate"),
    "paths that only some ranks take": (Paths, "layerwise"),
    "a shared head": (SharedHead, "layerwise"),
}


def batches_of(rank: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rank)
    sizes = SHARES[rank]
    x = torch.randn(sum(sizes), 3, 8, 8, generator=generator, dtype=torch.float64)
    return list((x * (rank + 1) + rank).split(sizes)) if sizes else []


def model_of(build: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return trained(build()).double()


def broken(rank: int) -> Iterator[Tensor]:
    """Yield the rank's batches; those of rank 1 end in a failure."""
    yield from batches_of(rank)
    if rank == 1:
        raise OSError("the disk is gone")


def refusal(model: nn.Module, data: Any, **arguments: Any) -> tuple[str, float]:
    """Return what was said, and how far the statistics are from the old ones."""
    before = statistics_of(model)
    try:
        bnc.recompute_statistics(model, data, process_group=dist.group.WORLD, **arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}", farthest(statistics_of(model), before)
    return "", farthest(statistics_of(model), before)


def other_ranks(rank: int) -> dict[str, tuple[str, float]]:
    """Return what is said where rank 1 does something else than the others."""
    other, data = rank == 1, batches_of(0)

    def interrupted(done: int, total: int | None, what: str) -> None:
        if other and done == total:
            raise OSError("no terminal any more")

    fewer = model_of(Residual)
    if other:
        fewer.bn1 = nn.Identity()
    wider = nn.Sequential(nn.BatchNorm2d(1 if other else 3)).double()
    moved = model_of(Residual)
    next(moved.parameters()).data[0] += 1e-3 * other
    model = model_of(Residual)
    closed: Any = nn.DataParallel(model) if other else model
    return {
        "fewer norms": refusal(fewer, data),
        "other channels": refusal(wider, [x[:, : 1 if other else 3] for x in data]),
        "other weights": refusal(moved, data),
        "another method": refusal(model, data, method="aggregate" if other else "layerwise"),
        "another variance": refusal(model, data, variance="unbiased" if other else "population"),
        "a wrong argument": refusal(model, data, method="exact" if other else "layerwise"),
        "a wrapped model": refusal(closed, data),
        "a failure at the end": refusal(model, data, progress=interrupted),
    }


def with_nan(rank: int) -> list[Tensor]:
    batches = batches_of(rank)
    return [*batches, torch.full((2, 3, 8, 8), float("nan")).double()] if rank == 1 else batches


class Overflowing(nn.Module):
    """Divides by zero behind its first norm where the input is large."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.a(x) / (x.abs().amax() < 50))
        return y


def wild(rank: int) -> list[Tensor]:
    return [*batches_of(rank), *([torch.full((2, 3, 8, 8), 99.0).double()] if rank == 1 else [])]


def joined(rank: int, world: int, folder: str, seconds: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=seconds),
    )


def outside(rank: int) -> str:
    """Return what a rank is told that gives a group which it is not in."""
    group = dist.new_group([0])
    try:
        bnc.recompute_statistics(model_of(Residual), batches_of(0), process_group=group)
    except bnc.StatisticsError as error:
        return str(error)
    return ""


def worker(rank: int, world: int, folder: str) -> None:
    joined(rank, world, folder, 120)
    group = dist.group.WORLD
    results: dict[str, Any] = {}
    for name, (build, method) in SCENARIOS.items():
        model = model_of(build)
        bnc.recompute_statistics(model, batches_of(rank), method=method, process_group=group)
        results[name] = statistics_of(model)
    model = model_of(Residual)
    report = bnc.recompute_statistics(model, with_nan(rank), process_group=group).report
    results["a broken batch"] = statistics_of(model)
    results["rows"] = [row.samples for row in report.statistics]
    model = Overflowing().double().eval()
    bnc.recompute_statistics(model, wild(rank), process_group=group)
    results["an overflow in the middle"] = statistics_of(model)
    results["a failing rank"] = refusal(model_of(Residual), broken(rank))
    results |= other_ranks(rank)
    results["outside"] = outside(rank)
    results["no data"] = refusal(model_of(Residual), [])
    alone = bnc.recompute_statistics(model, batches_of(0))
    results["alone"] = alone.report.notes
    torch.save(results, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def dying(rank: int, world: int, folder: str) -> None:
    joined(rank, world, folder, 20)

    def data() -> Iterator[Tensor]:
        yield torch.randn(4, 3, 8, 8).double()
        if rank == world - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    start = time.monotonic()
    said = refusal(model_of(Residual), data())
    torch.save((said, time.monotonic() - start), f"{folder}/{rank}.pt")
    while sum(Path(folder, f"{other}.pt").exists() for other in range(world)) < world - 1:
        time.sleep(0.05)  # a rank that lives on must not keep the others waiting
    os._exit(0)

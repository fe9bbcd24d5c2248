"""Statistics over 2 and 4 real gloo processes against one process on the union."""

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

import bnconvert as bnc
from bnconvert.statistics.ranks import Ranks
from tests.precise import Statistics, farthest, statistics_of
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


def refusal(model: nn.Module, data: Any) -> tuple[str, float]:
    """Return what was said, and how far the statistics are from the old ones."""
    before = statistics_of(model)
    try:
        bnc.recompute_statistics(model, data, process_group=dist.group.WORLD)
    except (bnc.StatisticsError, OSError) as error:
        return f"{type(error).__name__}: {error}", farthest(statistics_of(model), before)
    return "", 0.0


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
        if rank == 1:
            os._exit(0)

    start = time.monotonic()
    said = refusal(model_of(Residual), data())
    torch.save((said, time.monotonic() - start), f"{folder}/{rank}.pt")
    os._exit(0)


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("ranks")
    spawn(worker, (request.param, str(folder)), nprocs=request.param)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(request.param)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_all_ranks_get_what_one_process_gets_on_the_union(results: list[Any], name: str) -> None:
    build, method = SCENARIOS[name]
    model = model_of(build)
    union = [batch for rank in range(len(results)) for batch in batches_of(rank)]
    bnc.recompute_statistics(model, union, method=method)
    wanted = statistics_of(model)
    for result in results:
        assert farthest(result[name], wanted) < 1e-12
        assert same(result[name], results[0][name])


def same(some: Statistics, other: Statistics) -> bool:
    return all(
        torch.equal(a, b) for path in some for a, b in zip(some[path], other[path], strict=True)
    )


def test_a_broken_batch_of_one_rank_counts_on_none(results: list[Any]) -> None:
    for result in results:
        assert farthest(result["a broken batch"], results[0]["layerwise"]) < 1e-12
        assert result["rows"] == [sum(sum(SHARES[rank]) for rank in range(len(results)))] * 2


def test_a_batch_that_overflows_in_the_middle_on_one_rank_counts_on_none(
    results: list[Any],
) -> None:
    model = Overflowing().double().eval()
    union = [batch for rank in range(len(results)) for batch in batches_of(rank)]
    bnc.recompute_statistics(model, union)
    for result in results:
        assert farthest(result["an overflow in the middle"], statistics_of(model)) < 1e-12


def test_a_rank_that_fails_lets_the_others_fail_and_nothing_changes(results: list[Any]) -> None:
    for rank, result in enumerate(results):
        said, moved = result["a failing rank"]
        assert moved == 0
        if rank == 1:
            assert said == "OSError: the disk is gone"
        else:
            assert said.startswith("StatisticsError: rank 1 failed: OSError: the disk is gone; fix")


def test_no_data_on_any_rank_is_refused(results: list[Any]) -> None:
    for result in results:
        assert "batches gave no data" in result["no data"][0]


def test_a_rank_that_measures_alone_is_told(results: list[Any]) -> None:
    for result in results:
        assert (
            "measured on this rank alone; give process_group= to measure on all" in result["alone"]
        )


def test_a_rank_that_dies_does_not_hang_the_others(tmp_path: Path) -> None:
    spawn(dying, (2, str(tmp_path)), nprocs=2)
    (said, moved), seconds = torch.load(tmp_path / "0.pt", weights_only=False)
    assert "StatisticsError: another rank died, or took longer than the group's timeout (" in said
    assert moved == 0
    assert seconds < 60
    assert not (tmp_path / "1.pt").exists()


def test_a_process_alone_gathers_its_own() -> None:
    ranks = Ranks(None)
    assert ranks.gather(3) == [3]
    ranks.announce(ValueError("nobody listens"))

"""Statistics over 2 and 4 real gloo processes against one process on the union."""

from pathlib import Path
from typing import Any

import pytest
import torch

import bnconvert as bnc
from bnconvert.statistics.ranks import Ranks
from tests.precise import Statistics, farthest, statistics_of
from tests.rank_processes import run_all, start_all
from tests.statistics.rank_tasks import (
    SCENARIOS,
    SHARES,
    Overflowing,
    batches_of,
    dying,
    model_of,
    worker,
)


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("ranks")
    run_all(worker, request.param, str(folder))
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


DIFFERENCES = {
    "fewer norms": ("other norms than on rank 0", ""),
    "other channels": ("other norms than on rank 0", ""),
    "other weights": ("other weights than on rank 0", ""),
    "another method": ("other method than on rank 0", ""),
    "another variance": ("other variance than on rank 0", ""),
    "a wrong argument": ("rank 1 failed: ValueError", "ValueError: method is 'exact'"),
    "a wrapped model": ("rank 1 failed: Unsupported", "UnsupportedModelError: the model is wr"),
    "a failure at the end": ("rank 1 failed: OSError: no terminal", "OSError: no terminal"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_ranks_that_do_not_do_the_same_are_told_and_nothing_changes(
    results: list[Any], name: str
) -> None:
    others, its_own = DIFFERENCES[name]
    for rank, result in enumerate(results):
        said, moved = result[name]
        assert moved == 0
        assert (its_own if rank == 1 and its_own else others) in said


def test_a_rank_outside_of_the_group_is_told(results: list[Any]) -> None:
    assert results[0]["outside"] == ""
    for result in results[1:]:
        assert "this rank is not in the process group" in result["outside"]


def test_a_rank_that_is_killed_does_not_hang_the_others(tmp_path: Path) -> None:
    start_all(dying, 3, str(tmp_path))
    for rank in range(2):
        (said, moved), seconds = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert "StatisticsError: another rank died, or took longer than the group's timeout" in said
        assert moved == 0
        assert seconds < 60


def test_a_process_alone_gathers_its_own() -> None:
    ranks = Ranks(None)
    assert ranks.gather(3) == [3]
    ranks.announce(ValueError("nobody listens"))

"""Sync against one process on the concatenation, with 2 and 3 real gloo processes."""

import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.norms.sync import SyncNorm
from tests.norms.sync_ranks import SCENARIOS, norm_of, share, worker
from tests.rank_processes import run_all, start_all
from tests.submodules import submodule
from tests.zoo import build, trained


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    world: int = request.param
    folder = tmp_path_factory.mktemp("ranks")
    run_all(worker, world, str(folder))
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]


def reference(inputs: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Naive float64 batch norm over the values of all ranks, and its gradients by autograd."""
    norm = trained(nn.BatchNorm2d(4)).double()
    leaves = [x.clone().requires_grad_() for x, _ in inputs]
    flat = torch.cat([x.transpose(0, 1).reshape(4, -1) for x in leaves], 1)
    n = flat.shape[1]
    mean, var = flat.mean(1), flat.var(1, unbiased=False)
    weight = norm.weight.detach().clone().requires_grad_()
    bias = norm.bias.detach().clone().requires_grad_()

    def shaped(t: Tensor, x: Tensor) -> Tensor:
        return t.reshape(1, 4, *[1] * (x.dim() - 2))

    ys = [
        (x - shaped(mean, x)) / (shaped(var, x) + norm.eps).sqrt() * shaped(weight, x)
        + shaped(bias, x)
        for x in leaves
    ]
    zero = torch.zeros((), dtype=torch.float64)
    total = sum(((y * g).sum() for y, (_, g) in zip(ys, inputs, strict=True)), zero)
    gradients = torch.autograd.grad(total, [*leaves, weight, bias])
    return {
        "y": ys,
        "dx": gradients[: len(leaves)],
        "dweight": gradients[-2],
        "dbias": gradients[-1],
        "running_mean": 0.9 * norm.get_buffer("running_mean") + 0.1 * mean.detach(),
        "running_var": 0.9 * norm.get_buffer("running_var") + 0.1 * var.detach() * n / (n - 1),
        "num_batches_tracked": torch.tensor(101),
    }


def assert_agrees(results: list[dict[str, Tensor]], expected: dict[str, Any]) -> None:
    for rank, mine in enumerate(results):
        for name in ("y", "dx"):
            torch.testing.assert_close(mine[name], expected[name][rank], rtol=1e-9, atol=1e-10)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            torch.testing.assert_close(mine[name], expected[name], rtol=1e-12, atol=1e-12)
    for name in ("dweight", "dbias"):  # of each rank's own samples; DDP adds them up
        summed = sum(mine[name] for mine in results)
        torch.testing.assert_close(summed, expected[name], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "all empty"])
def test_the_ranks_together_are_one_process_on_the_concatenation(
    ranks: list[Any], name: str
) -> None:
    inputs = [share(SCENARIOS[name][rank], rank) for rank in range(len(ranks))]
    assert_agrees([results[name] for results in ranks], reference(inputs))


def test_where_every_rank_is_empty_nothing_is_tracked(ranks: list[Any]) -> None:
    before = trained(nn.BatchNorm2d(4)).double()
    for results in ranks:
        for name, buffer in before.named_buffers():
            assert torch.equal(results["all empty"][name], buffer)
        assert results["all empty"]["dx"].shape == (0, 4, 3, 3)


def test_memory_format_and_dtype_stay(ranks: list[Any]) -> None:
    inputs = [share((3, 4, 5, 5), rank) for rank in range(len(ranks))]
    assert_agrees([results["channels last"] for results in ranks], reference(inputs))
    for results in ranks:
        y = results["channels last"]["y"]
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert results["bfloat16"].dtype is torch.bfloat16


def test_a_subgroup_is_its_own_batch_also_after_copying_and_pickling(ranks: list[Any]) -> None:
    inputs = [share((3, 4, 5, 5), rank) for rank in range(2)]
    assert_agrees([results["subgroup"] for results in ranks[:2]], reference(inputs))
    assert all(results["subgroup"] is None for results in ranks[2:])


def test_separate_over_sync_joins_each_domain_over_the_ranks_that_have_it(
    ranks: list[Any],
) -> None:
    for domain in (0, 1):
        members = [rank for rank in range(len(ranks)) if rank % 2 == domain]
        expected = reference([share((3, 4, 5, 5), rank) for rank in members])
        prefix = "bnconvert.domains.target." if domain else ""
        for place, rank in enumerate(members):
            torch.testing.assert_close(ranks[rank]["separate"]["y"], expected["y"][place])
        for results in ranks:
            for name in ("running_mean", "running_var"):
                torch.testing.assert_close(results["separate"][prefix + name], expected[name])


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_without_a_process_group_it_is_plain_batch_norm() -> None:
    check_plain()


def test_alone_in_the_process_group_it_is_plain_batch_norm(alone: None) -> None:
    check_plain()


def check_plain() -> None:
    plain = trained(nn.BatchNorm2d(4)).train()
    sync = bnc.convert(plain, bnc.Sync())
    x = torch.randn(3, 4, 5, 5)
    assert torch.equal(sync(x), plain(x))
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(sync.get_buffer(name), buffer)


def test_it_trains_where_torchs_own_does_not(alone: None) -> None:
    """torch's SyncBatchNorm raises on the CPU as soon as a process group exists."""
    model, inputs = build("sync")
    with pytest.raises(ValueError, match="GPU"):
        model.train()(*inputs)
    bnc.convert(model, bnc.Sync()).train()(*inputs).sum().backward()


def test_it_takes_the_group_of_torchs_own_norm(alone: None) -> None:
    group = dist.new_group([0])
    assert isinstance(group, dist.ProcessGroup)
    converted = bnc.convert(nn.SyncBatchNorm(4, process_group=group), bnc.Sync())
    assert isinstance(converted, SyncNorm)
    assert converted.group_name == group.group_name
    assert f"group={group.group_name}" in repr(converted)
    reverted = bnc.revert(converted)
    assert isinstance(reverted, nn.SyncBatchNorm)
    assert reverted.process_group is group


def test_a_group_that_is_gone_is_an_error(alone: None) -> None:
    norm = submodule(bnc.convert(nn.BatchNorm2d(4), bnc.Sync()), "", SyncNorm).train()
    norm.group_name = "elsewhere"
    with pytest.raises(RuntimeError):
        norm(torch.randn(2, 4, 3, 3))


def test_eval_is_plain_batch_norm() -> None:
    plain = trained(nn.BatchNorm2d(4))
    x = torch.randn(1, 4, 5, 5)
    expected = F.batch_norm(
        x, plain.running_mean, plain.running_var, plain.weight, plain.bias, False, 0.0, plain.eps
    )
    assert torch.equal(bnc.convert(plain, bnc.Sync())(x), expected)


def test_a_group_is_kept_unless_another_is_given(lone_process_group: dist.ProcessGroup) -> None:
    other = dist.new_group([0])
    assert isinstance(other, dist.ProcessGroup)
    first = bnc.convert(trained(nn.BatchNorm2d(3)), bnc.Sync(lone_process_group))
    names = [
        submodule(bnc.convert(first, policy), "", SyncNorm).group_name
        for policy in (bnc.Sync(), bnc.Sync(lone_process_group), bnc.Sync(other))
    ]
    assert names == [lone_process_group.group_name, lone_process_group.group_name, other.group_name]


def test_a_group_that_this_rank_is_not_in_is_refused() -> None:
    """Sync would wait for all ranks, and the group's for one another."""
    outside = dist.GroupMember.NON_GROUP_MEMBER  # what dist.new_group gives the other ranks
    wrong = nn.SyncBatchNorm(4, process_group=outside)
    for norm, choice in ((nn.BatchNorm2d(4), bnc.Sync(outside)), (wrong, bnc.Sync())):
        with pytest.raises(bnc.RefusedError, match="no process group that this rank is in"):
            bnc.convert(norm, choice)


def dying(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world,
        timeout=timedelta(seconds=20),
    )  # fmt: skip
    norm, (x, gradient) = norm_of(4), share((3, 4, 5, 5), rank)
    y = norm(x.requires_grad_())
    if rank == world - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    results: list[str] = []
    for work in (lambda: y.backward(gradient), lambda: norm(x)):
        try:
            work()
        except RuntimeError as error:
            results.append(str(error))
    same = all(torch.equal(before[name], buffer) for name, buffer in norm.named_buffers())
    torch.save((results, same), f"{folder}/{rank}.pt")
    os._exit(0)


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_step_of_the_other(tmp_path: Path) -> None:
    start_all(dying, 2, str(tmp_path))
    errors, same = torch.load(tmp_path / "0.pt")
    assert len(errors) == 2, "neither the backward nor the next forward may go on alone"
    assert same, "no statistics without those of the lost rank"

"""Converted models in DDP and FSDP, on two processes: what is frozen does not move, bit for bit."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.parallel import DistributedDataParallel

import bnconvert as bnc
from bnconvert.norms.frozen import FrozenNorm
from tests.rank_processes import run_all

pytestmark = pytest.mark.slow
STEPS = 20


class Net(nn.Module):
    """Convolutions, norms, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.second, self.last = nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.last(self.second(x)))
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


def frozen() -> nn.Module:
    torch.manual_seed(0)
    net = Net()
    bnc.recompute_statistics(net, [torch.randn(8, 3, 9, 9)])
    return bnc.prepare(net, bnc.Frozen()).model


def ddp(model: nn.Module) -> nn.Module:
    return DistributedDataParallel(model)


def converted_inside_ddp(model: nn.Module) -> nn.Module:
    """Freeze the statistics of a model that is wrapped already; its parameters stay."""
    wrapped = DistributedDataParallel(bnc.revert(model).requires_grad_(True))
    bnc.convert(wrapped.module, bnc.Frozen(affine="trainable"), inplace=True)
    return wrapped


def fsdp(model: nn.Module) -> nn.Module:
    policy = ModuleWrapPolicy({FrozenNorm})  # norms are units of their own
    return FullyShardedDataParallel(
        model, auto_wrap_policy=policy, use_orig_params=True, device_id=torch.device("cpu")
    )


def fsdp2(model: nn.Module) -> nn.Module:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for module in model.modules():
        if isinstance(module, FrozenNorm):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


@dataclass
class Run:
    """The statistics and the affine parameters before and after a training, and its losses."""

    before: tuple[list[Tensor], list[Tensor]]
    after: tuple[list[Tensor], list[Tensor]]
    losses: list[float]


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "ddp": ddp,
    "converted inside ddp": converted_inside_ddp,
    "fsdp": fsdp,
    "fsdp2": fsdp2,
}


def statistics(model: nn.Module) -> list[Tensor]:
    return [b.detach().clone() for n, b in model.named_buffers() if "running" in n]


def affine(model: nn.Module) -> list[Tensor]:
    """Return the weights of norms, whole, whatever rank holds them."""
    found = [p.detach() for n, p in model.named_parameters() if "norm" in n or "last" in n]
    return [p.full_tensor() if hasattr(p, "full_tensor") else p.clone() for p in found]


def train(model: nn.Module, rank: int) -> list[float]:
    """Train, with two forwards before each backward; return the losses."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    generator = torch.Generator().manual_seed(rank)
    losses = []
    for _ in range(STEPS):
        first, second = torch.randn(2, 4, 3, 9, 9, generator=generator)
        scores = torch.cat([model(first), model(second)])
        loss = nn.functional.cross_entropy(scores, torch.tensor([0, 1] * 4))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def worker(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    results: dict[str, Run] = {}
    for name, wrap in WRAPPERS.items():
        model = wrap(frozen().train())
        before = statistics(model), affine(model)
        losses = train(model, rank)
        results[name] = Run(before, (statistics(model), affine(model)), losses)
    Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps(results))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Run]]:
    folder = tmp_path_factory.mktemp("ranks")
    run_all(worker, 2, str(folder))
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(2)]


@pytest.mark.parametrize("name", WRAPPERS)
def test_running_statistics_that_are_frozen_do_not_move(
    ranks: list[dict[str, Run]], name: str
) -> None:
    for runs in ranks:
        before, after = runs[name].before[0], runs[name].after[0]
        assert len(before) == 4
        assert all(map(torch.equal, before, after))


@pytest.mark.parametrize("name", WRAPPERS)
def test_weight_and_bias_move_only_where_they_are_trainable(
    ranks: list[dict[str, Run]], name: str
) -> None:
    for runs in ranks:
        before, after = runs[name].before[1], runs[name].after[1]
        assert len(before) == 4
        same = map(torch.equal, before, after)
        assert not any(same) if name == "converted inside ddp" else all(same)


@pytest.mark.parametrize("name", ["fsdp", "fsdp2"])
def test_sharded_or_not_the_training_is_the_same(ranks: list[dict[str, Run]], name: str) -> None:
    for runs in ranks:
        assert runs[name].losses == pytest.approx(runs["ddp"].losses, rel=1e-4)

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

import bnconvert as bnc
from bnconvert.modules.sharding import why_sharded

X = torch.randn(4, 3)


@pytest.fixture(autouse=True)
def group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def whole() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def sharded() -> nn.Module:
    model = whole()
    fully_shard(model)
    return model


def sharded_inside() -> nn.Module:
    model = nn.Sequential(whole())
    fully_shard(model[0])
    return model


def wrapped_inside() -> nn.Module:
    return nn.Sequential(FullyShardedDataParallel(whole(), device_id=torch.device("cpu")))


def distributed_inside() -> nn.Module:
    return nn.Sequential(DistributedDataParallel(whole()))


def parallelized() -> nn.Module:
    return parallelize_module(whole(), init_device_mesh("cpu", (1,)), {"0": ColwiseParallel()})


MODELS = (
    (sharded, r"\(root\): is sharded by fully_shard"),
    (sharded_inside, "0: is sharded by fully_shard"),
    (wrapped_inside, "0: is wrapped by FullyShardedDataParallel"),
    (distributed_inside, "0: is wrapped by DistributedDataParallel"),
    (parallelized, r"0\.weight: is a DTensor"),
)
VERBS: tuple[Callable[[nn.Module], Any], ...] = (
    lambda model: bnc.convert(model, bnc.Frozen()),
    lambda model: bnc.convert(model, bnc.Frozen(), inplace=True),
    lambda model: bnc.revert(model, inplace=True),
    lambda model: bnc.recompute_statistics(model, [X]),
    lambda model: bnc.fold(model, (X,)),
)


@pytest.mark.parametrize(("make", "said"), MODELS)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_a_sharded_or_wrapped_model_is_refused_with_the_order_of_steps(
    make: Callable[[], nn.Module], said: str
) -> None:
    model = make()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    for verb in VERBS:
        with pytest.raises(bnc.UnsupportedModelError, match=f"^{said}.*; use the model as it was"):
            verb(model)
    assert [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)] == norms


def test_what_is_converted_first_can_be_sharded() -> None:
    model = bnc.convert(whole(), bnc.Frozen())
    assert why_sharded(model) is None
    expected = model(X)
    fully_shard(model)
    torch.testing.assert_close(model(X), expected)

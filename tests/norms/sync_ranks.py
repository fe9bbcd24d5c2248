"""What every rank does with its share of a batch."""

import copy
import pickle
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.norms.sync import SyncNorm
from tests.submodules import submodule
from tests.zoo import trained

#: The shapes of each rank's batch: unequal sizes, unequal H x W, an empty rank, one sample each.
SCENARIOS: dict[str, tuple[tuple[int, ...], ...]] = {
    "unequal batches": ((5, 4, 6, 3), (2, 4, 6, 3), (3, 4, 6, 3)),
    "unequal images": ((2, 4, 6, 3), (3, 4, 2, 2), (1, 4, 7, 1)),
    "an empty rank": ((4, 4, 3, 3), (0, 4, 3, 3), (2, 4, 3, 3)),
    "one sample per rank": ((1, 4), (1, 4), (1, 4)),
    "sequences": ((2, 4, 5), (3, 4, 5), (1, 4, 5)),
    "volumes": ((1, 4, 2, 3, 2), (2, 4, 2, 3, 2), (1, 4, 2, 3, 2)),
    "all empty": ((0, 4, 3, 3), (0, 4, 3, 3), (0, 4, 3, 3)),
}

CLASSES = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def share(shape: tuple[int, ...], rank: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return a rank's input and the gradient of its output; ranks have different means."""
    generator = torch.Generator().manual_seed(seed + 10 * rank)
    x, gradient = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return x * (rank + 1) + 3 * rank, gradient


def norm_of(dimensions: int, group: Any = None) -> SyncNorm:
    plain = trained(CLASSES[dimensions](4)).double()
    return submodule(bnc.convert(plain, bnc.Sync(group)), "", SyncNorm).train()


def step(norm: nn.Module, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    y = norm(x)
    y.backward(gradient)
    return {
        "y": y.detach(),
        "dx": x.grad,
        "dweight": norm.weight.grad,
        "dbias": norm.bias.grad,
        **{name: buffer.clone() for name, buffer in norm.named_buffers()},
    }


def worker(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world
    )
    results: dict[str, Any] = {}
    for name, shapes in SCENARIOS.items():
        x, gradient = share(shapes[rank], rank)
        results[name] = step(norm_of(x.dim()), x, gradient)
    x, gradient = share((3, 4, 5, 5), rank)
    results["channels last"] = step(norm_of(4), x.to(memory_format=torch.channels_last), gradient)
    results["bfloat16"] = norm_of(4).float()(x.bfloat16())
    pairs = [dist.new_group([first, *range(1, world)][:2]) for first in (0,)]
    results["subgroup"] = None
    if rank < 2:
        norm = pickle.loads(pickle.dumps(copy.deepcopy(norm_of(4, pairs[0]))))
        results["subgroup"] = step(norm, x, gradient)
    separate = bnc.convert(
        trained(nn.BatchNorm2d(4)).double(), bnc.Separate(each=bnc.Sync())
    ).train()
    with bnc.domain(separate, torch.full((3,), rank % 2)):  # a domain that other ranks lack
        results["separate"] = step(separate, x, gradient)
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()

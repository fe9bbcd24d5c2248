"""Precise statistics by several processes, each with its own share of the data.

Every rank measures on its share, of any size and in batches of any size, an empty one included;
all get the same statistics, bit for bit, and up to rounding those that one process gets from all
of the data. The weights must be equal on every rank, as DistributedDataParallel keeps them (give
its `.module`); here an untrained network stands for a trained one.

    torchrun --nproc-per-node 2 samples/distributed_statistics.py
    torchrun --nproc-per-node 3 samples/distributed_statistics.py --shares 2 1 0
"""

import argparse
import copy
import hashlib
import os
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, distributed as dist, nn

import bnconvert as bnc

#: What float32 buffers may differ by when the same sums are added up in another order.
ALLOWED = 1e-5


def images() -> Tensor:
    """Return scikit-learn's digits, (1797, 1, 8, 8)."""
    from sklearn.datasets import load_digits

    return torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 16


def network() -> nn.Module:
    """Return three blocks of convolution, batch norm and ReLU; on every rank the same."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def share(data: Tensor, shares: Sequence[int], rank: int) -> Tensor:
    """Return this rank's part of the data, in proportion to the shares."""
    start, stop = (len(data) * sum(shares[:r]) // sum(shares) for r in (rank, rank + 1))
    return data[start:stop]


def checksum(model: nn.Module) -> str:
    """Return a hash of all running statistics, to the last bit."""
    digest = hashlib.sha256()
    for buffer in model.buffers():
        digest.update(buffer.numpy().tobytes())
    return digest.hexdigest()[:16]


def difference(model: nn.Module, other: nn.Module) -> float:
    """Return the largest difference of any statistics, relative to the largest of their norm."""
    pairs = zip(model.named_buffers(), other.buffers(), strict=True)
    return max(
        float((mine - theirs).abs().max() / theirs.abs().max())
        for (name, mine), theirs in pairs
        if not name.endswith("num_batches_tracked")
    )


def measure(shares: Sequence[int]) -> int:
    """Measure on this rank's share; return 0 if all ranks agree, and agree with one process."""
    rank, world = dist.get_rank(), dist.get_world_size()
    model, data = network(), images()
    alone = copy.deepcopy(model)
    mine = share(data, shares, rank)
    bnc.recompute_statistics(model, mine.split(64), process_group=dist.group.WORLD)
    # In one piece with the end of its line, since all ranks write to one terminal.
    print(f"rank {rank}: {len(mine)} images, checksum {checksum(model)}\n", end="", flush=True)
    checksums = [""] * world
    dist.all_gather_object(checksums, checksum(model))
    if len(set(checksums)) > 1:
        return 3
    if rank > 0:
        return 0
    bnc.recompute_statistics(alone, data.split(100))
    off = difference(model, alone)
    print(f"{world} ranks agree; one process on all {len(data)} images differs by {off:.1e}")
    return 0 if off < ALLOWED else 3


def main(arguments: list[str] | None = None) -> int:
    """Measure together with the other ranks; each starts here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shares", type=int, nargs="+", help="one per rank; by default 1 2 3 ...")
    shares = parser.parse_args(arguments).shares
    if "RANK" not in os.environ:
        command = "torchrun --nproc-per-node 2 samples/distributed_statistics.py"
        print(f"several processes are needed; start it with: {command}", file=sys.stderr)
        return 2
    world = int(os.environ["WORLD_SIZE"])
    shares = shares or list(range(1, world + 1))
    if len(shares) != world or min(shares) < 0 or not any(shares):
        parser.error(f"{world} ranks need {world} shares, none negative and not all 0")
    dist.init_process_group("gloo")
    try:
        return measure(shares)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())

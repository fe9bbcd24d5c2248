"""Measure what each norm costs, forward and backward, as a ratio to plain batch norm.

Run by hand: python -m tests.benchmarks.norms [--rounds 40] [--output norms.json]
One thread, one process, all ways interleaved in random order; process CPU time; medians of the
ratios within a round, with quartiles. Sync runs on two gloo processes. Prints tables and writes
JSON. With --profile it also prints where the time of a way goes. The C library is told to keep
freed memory: else page faults, which come and go with the allocator's mood, drown the figures.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.reporting.table import table
from tests.zoo import trained

SHAPES = ((32, 64, 56, 56), (32, 256, 14, 14), (128, 512, 7, 7))
FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
GROUPS = 4
#: What the norms are to reach, by format; None where nothing is asked.
_KEEP = {"MALLOC_TRIM_THRESHOLD_": "4000000000", "MALLOC_MMAP_THRESHOLD_": "4000000000"}
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "Ghost": (1.25, 1.5),
    "Renorm": (1.1, 1.1),
    "Frozen": (0.6, 0.6),
    "Frozen, affine trained": (0.75, 0.75),
    "Separate, one domain": (1.05, 1.05),
    "Separate, mixed, in blocks": (1.6, 1.6),
    "Separate, mixed, shuffled": (1.6, 1.6),
    "Sync, 2 processes": (1.5, 1.5),
}
Way = Callable[[Tensor], Tensor]


class SplitGhost(nn.BatchNorm2d):
    """The usual ghost batch norm: split, normalize, concatenate."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super(SplitGhost, self).forward(part) for part in x.chunk(GROUPS)])


class ScaleShift(nn.BatchNorm2d):
    """The usual frozen norm: x * scale + shift, as detectors do it."""

    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


class ComposedRenorm(nn.BatchNorm2d):
    """The usual batch renorm: normalize without affine, then correct."""

    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
            sigma = (self.running_var + self.eps).sqrt()
            r = ((var + self.eps).sqrt() / sigma).clamp(1 / 3, 3)
            d = ((mean - self.running_mean) / sigma).clamp(-5, 5)
        y = F.batch_norm(x, self.running_mean, self.running_var, None, None, True, 0.1, self.eps)
        scale, shift = self.weight * r, self.weight * d + self.bias
        return torch.addcmul(shift.reshape(1, -1, 1, 1), y, scale.reshape(1, -1, 1, 1))


class IndexedDomains(nn.Module):
    """The usual mixed batch: select each domain, normalize it, and put it back."""

    def __init__(self, channels: int, labels: Tensor) -> None:
        super().__init__()
        self.norms, self.labels = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2)), labels

    def forward(self, x: Tensor) -> Tensor:
        y = torch.empty_like(x)
        for label, norm in enumerate(self.norms):
            rows = (self.labels == label).nonzero().flatten()
            y = y.index_copy(0, rows, norm(x[rows]))
        return y


def ways(channels: int, samples: int) -> dict[str, tuple[nn.Module, Any]]:
    """Return every way by its name, with the domain in which it runs."""
    plain = trained(nn.BatchNorm2d(channels)).train()
    blocks = torch.arange(samples) * 2 // samples
    shuffled = blocks[torch.randperm(samples, generator=torch.Generator().manual_seed(0))]
    frozen = ScaleShift(channels).requires_grad_(False)
    learning = ScaleShift(channels)
    separate = bnc.Separate()
    return {
        "BatchNorm2d": (plain, None),
        "Ghost": (bnc.convert(plain, bnc.Ghost(samples // GROUPS)), None),
        "  split, cat": (SplitGhost(channels), None),
        "Renorm": (bnc.convert(plain, bnc.Renorm()), None),
        "  composed": (ComposedRenorm(channels), None),
        "Frozen": (bnc.convert(plain, bnc.Frozen()), None),
        "  x * scale + shift": (frozen, None),
        "Frozen, affine trained": (bnc.convert(plain, bnc.Frozen(affine="trainable")), None),
        "  x * scale + shift, trained": (learning, None),
        "Group": (bnc.convert(plain, bnc.Group(32)), None),
        "Instance": (bnc.convert(plain, bnc.Instance()), None),
        "Separate, one domain": (bnc.convert(plain, separate), "target"),
        "Separate, mixed, in blocks": (bnc.convert(plain, separate), blocks),
        "Separate, mixed, shuffled": (bnc.convert(plain, separate), shuffled),
        "  select, norm, put back": (IndexedDomains(channels, shuffled), None),
    }


def seconds(way: Way, x: Tensor, gradient: Tensor) -> float:
    """Return the CPU seconds of one forward and backward."""
    x = x.detach().requires_grad_()
    start = time.process_time()
    way(x).backward(gradient)
    return time.process_time() - start


def ratios(
    candidates: Mapping[str, Way], shape: tuple[int, ...], memory: torch.memory_format, rounds: int
) -> dict[str, list[float]]:
    """Return, for every way, its time over plain batch norm's in the same round."""
    x, gradient = (torch.randn(shape).to(memory_format=memory) for _ in range(2))
    found: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    for turn in range(rounds + 3):
        random.shuffle(order)
        taken = {name: seconds(candidates[name], x, gradient) for name in order}
        if turn >= 3:
            for name in candidates:
                found[name].append(taken[name] / taken["BatchNorm2d"])
    return found


def summary(values: list[float]) -> dict[str, float]:
    """Return median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": round(middle, 3), "low": round(low, 3), "high": round(high, 3)}


def measure(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Measure every way but Sync on every shape; return the figures by way and case."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    for shape in SHAPES:
        for format_name, memory in FORMATS.items():
            with ExitStack() as stack:
                candidates: dict[str, Way] = {}
                for name, (norm, domain) in ways(shape[1], shape[0]).items():
                    if domain is not None:
                        stack.enter_context(bnc.domain(norm, domain))
                    candidates[name] = norm.train()
                for name, values in ratios(candidates, shape, memory, rounds).items():
                    case = f"{'x'.join(map(str, shape))} {format_name}"
                    results.setdefault(name, {})[case] = summary(values)
    return results


def sync_worker(rank: int, folder: str, rounds: int) -> None:
    """Measure Sync against plain batch norm in one of two processes."""
    torch.set_num_threads(1)
    random.seed(0)  # the same order in both processes: every forward is a collective
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {}
    for shape in SHAPES:
        for format_name, memory in FORMATS.items():
            plain = trained(nn.BatchNorm2d(shape[1])).train()
            candidates = {"BatchNorm2d": plain, "Sync, 2 processes": bnc.convert(plain, bnc.Sync())}
            found = ratios(candidates, shape, memory, rounds)["Sync, 2 processes"]
            results[f"{'x'.join(map(str, shape))} {format_name}"] = found
    if rank == 0:
        Path(folder, "sync.json").write_text(json.dumps(results))
    dist.destroy_process_group()


def measure_sync(rounds: int) -> dict[str, dict[str, float]]:
    """Measure Sync on two gloo processes; return the figures by case."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(sync_worker, (folder, rounds), nprocs=2)
        found = json.loads(Path(folder, "sync.json").read_text())
    return {case: summary(values) for case, values in found.items()}


def profile(name: str) -> None:
    """Print where the time of one way goes, on the middle shape in channels_last."""
    shape = SHAPES[1]
    norm, domain = ways(shape[1], shape[0])[name]
    x, gradient = (torch.randn(shape).to(memory_format=torch.channels_last) for _ in range(2))
    with ExitStack() as stack:
        if domain is not None:
            stack.enter_context(bnc.domain(norm, domain))
        norm.train()
        seconds(norm, x, gradient)
        recorder = stack.enter_context(torch.profiler.profile())
        for _ in range(20):
            seconds(norm, x, gradient)
    print(recorder.key_averages().table(sort_by="self_cpu_time_total", row_limit=14))


def main() -> None:
    """Measure, print the table with the bounds, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--output", type=Path, default=Path("norms.json"))
    parser.add_argument("--profile", help="a way, by its name in the table")
    options = parser.parse_args()
    if not os.environ.keys() >= _KEEP.keys():  # read when a process starts
        arguments = [sys.executable, "-m", "tests.benchmarks.norms", *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, **_KEEP})
    torch.set_num_threads(1)
    if options.profile:
        profile(options.profile)
        return
    results = measure(options.rounds)
    results["Sync, 2 processes"] = measure_sync(options.rounds)
    cases = list(results["BatchNorm2d"])
    rows = []
    for name, figures in results.items():
        bounds = BOUNDS.get(name, (None, None))
        asked = "" if bounds[0] is None else f"{bounds[0]} / {bounds[1]}"
        cells = (f"{f['median']:.2f} [{f['low']:.2f}, {f['high']:.2f}]" for f in figures.values())
        rows.append((name, asked, *cells))
    print(table(("forward + backward over BatchNorm2d's", "asked", *cases), rows))
    options.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

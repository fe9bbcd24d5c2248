"""Measure what precise statistics cost, beside a plain eval forward, fvcore and torch's update_bn.

Run by hand: python -m tests.benchmarks.statistics [--rounds 9] [--output statistics.json]
256 images at 112 pixels in batches of 32, ResNet-18 and ResNet-50, both memory formats; one
thread, one process, all ways interleaved in random order; process CPU time; medians of the ratios
within a round, with quartiles. Then the error of each way against float64, and the peak memory,
each way in a process of its own. Prints tables and writes JSON. The C library is told to keep
freed memory, except where memory is measured: else page faults drown the figures.
"""

import argparse
import copy
import ctypes
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import bnconvert as bnc
from bnconvert.reporting.table import table
from tests.precise import farthest, statistics_of
from tests.zoo import laid_out, trained

NETWORKS = ("resnet18", "resnet50")
FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
BATCH, SIDE = 32, 112
_KEEP = {"MALLOC_TRIM_THRESHOLD_": "4000000000", "MALLOC_MMAP_THRESHOLD_": "4000000000"}
#: Live activations at the widest place, bytes per image: counted on the graphs of the networks.
PEAK = {"resnet18": 0.80e6, "resnet50": 1.61e6}
BOUNDS = {
    "layerwise": "1.2 / 1.1",
    "aggregate": "- / 1.0",
    "layerwise, a quarter of the memory": "3 / -",
}


def network(name: str) -> nn.Module:
    """Return a network with the weights of its initialization and trained-looking norms."""
    from torchvision import models

    torch.manual_seed(0)
    model: nn.Module = models.get_model(name, weights=None)
    return trained(model)


def images(count: int, memory: torch.memory_format) -> list[Tensor]:
    """Return smooth images in batches, each with a brightness of its own."""
    torch.manual_seed(1)
    rough = torch.randn(count, 3, 14, 14) + torch.randn(count, 1, 1, 1)
    smooth = nn.functional.interpolate(rough, (SIDE, SIDE), mode="bilinear")
    return [x.contiguous(memory_format=memory) for x in smooth.split(BATCH)]


def ways(model: nn.Module, data: list[Tensor], name: str) -> dict[str, Callable[[], Any]]:
    """Return what is compared, the plain forward first."""
    from fvcore.nn.precise_bn import update_bn_stats

    def plain() -> None:
        with torch.no_grad():
            for batch in data:
                model.eval()(batch)

    def limited() -> None:
        limit = int(PEAK[name] * sum(map(len, data)) / 4)
        bnc.recompute_statistics(model.eval(), data, memory_limit=limit)

    return {
        "plain eval forward": plain,
        "fvcore": lambda: update_bn_stats(model.train(), data, len(data)),
        "update_bn": lambda: update_bn(data, model),
        "layerwise": lambda: bnc.recompute_statistics(model.eval(), data),
        "aggregate": lambda: bnc.recompute_statistics(model.eval(), data, method="aggregate"),
        "layerwise, a quarter of the memory": limited,
    }


def ratios(candidates: dict[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, Any]]:
    """Return, by way, the time over the plain forward's and over fvcore's."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name in random.sample(list(candidates), len(candidates)):
            start = time.process_time()
            candidates[name]()
            if turn:  # the first is for warming up
                times[name].append(time.process_time() - start)
    found: dict[str, dict[str, Any]] = {}
    for name, own in times.items():
        found[name] = {"seconds": statistics.median(own)}
        for other in ("plain eval forward", "fvcore"):
            quotients = [a / b for a, b in zip(own, times[other], strict=True)]
            low, median, high = statistics.quantiles(quotients, n=4)
            found[name][f"over {other}"] = {"low": low, "median": median, "high": high}
    return found


def errors(name: str, memory: torch.memory_format) -> dict[str, float]:
    """Return each way's largest error against the same in float64, in sigma and in proportion.

    fvcore and update_bn put new tensors in the buffers' place, hence the copies.
    """
    data = images(64, memory)
    found = {}
    for method in ("layerwise", "aggregate"):
        truth = network(name).double()
        bnc.recompute_statistics(truth, [x.double() for x in data], method=method)
        alike = [method] if method == "layerwise" else [method, "fvcore"]
        for way in alike:
            model = laid_out(copy.deepcopy(network(name)), memory)
            ways(model, data, name)[way]()
            found[way] = farthest(statistics_of(model), statistics_of(truth))
    return found


def peak_memory(name: str, way: str, count: int) -> float:
    """Return the megabytes that a way needs beside the model and the data, in its own process."""
    command = [sys.executable, "-m", "tests.benchmarks.statistics", "--memory", name, way]
    done = subprocess.run([*command, str(count)], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def print_memory(name: str, way: str, count: int) -> None:
    """Print the growth of the process's peak resident memory, in megabytes."""
    torch.set_num_threads(1)
    model, data = network(name), images(count, torch.contiguous_format)
    candidates = ways(model, data, name)
    with torch.no_grad():
        model(data[0][:2])
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    candidates[way]()
    print(resident("VmHWM") - before)


def resident(field: str) -> float:
    """Return the resident memory now (VmRSS) or at its peak (VmHWM), in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(field))) / 1e3


def report(results: dict[str, Any]) -> None:
    """Print the tables."""
    for case, found in results["times"].items():
        rows = [
            (
                way,
                BOUNDS.get(way, ""),
                f"{figures['seconds']:.2f}",
                *map(_cell, list(figures.values())[1:]),
            )
            for way, figures in found.items()
        ]
        columns = (case, "asked", "seconds", "over plain", "over fvcore")
        print(table(columns, rows), end="\n\n")
    for case, found in results["errors"].items():
        print(
            table((f"error, {case}", "largest"), [(w, f"{e:.1e}") for w, e in found.items()]),
            end="\n\n",
        )
    rows = [(way, *(f"{mb:.0f}" for mb in by.values())) for way, by in results["memory"].items()]
    print(table(("peak MB beside model and data", *next(iter(results["memory"].values()))), rows))


def _cell(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=Path("statistics.json"))
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--memory", nargs=3, help="a network, a way and a number of images")
    options = parser.parse_args()
    if options.memory:
        print_memory(options.memory[0], options.memory[1], int(options.memory[2]))
        return
    if not os.environ.keys() >= _KEEP.keys():  # read when a process starts
        arguments = [sys.executable, "-m", "tests.benchmarks.statistics", *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, **_KEEP})
    torch.set_num_threads(1)
    results: dict[str, Any] = {"times": {}, "errors": {}, "memory": {}}
    for name in options.networks:
        for layout in options.formats:
            memory = FORMATS[layout]
            model, data = laid_out(network(name), memory), images(256, memory)
            case = f"{name} {layout}"
            results["times"][case] = ratios(ways(model, data, name), options.rounds)
            results["errors"][case] = errors(name, memory)
    for variable in _KEEP:
        del os.environ[variable]
    for way in ways(nn.Identity(), [], "resnet18"):
        results["memory"][way] = {
            f"{name}, {count} images": peak_memory(name, way, count)
            for name in options.networks
            for count in (256, 512)
        }
    report(results)
    options.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

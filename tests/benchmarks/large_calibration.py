"""Measure precise statistics over many large images within a bounded memory.

Run by hand: python -m tests.benchmarks.large_calibration [--images 2000] [--limit 4000]
ResNet-50 at 224 pixels in batches of 32, one thread; random weights, trained-looking norms. The
plain eval forward runs over an eighth of the batches before and an eighth after, in the same
process, and its time is scaled to all of them; images are made as they are read. The memory is
the peak of the whole process (`ru_maxrss`). Prints a table and writes JSON.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.reporting.table import table
from tests.benchmarks.statistics import network

BATCH, SIDE = 32, 224
BOUNDS = {"over plain": "3", "peak": "8000 MB"}


class Images:
    """Smooth images in batches, each image with a brightness of its own; made when they are read.

    Attributes:
        first: the number of the first batch.
        last: the number of the one after the last batch.
    """

    def __init__(self, first: int, last: int) -> None:
        """Choose batches by number."""
        self.first, self.last = first, last

    def __iter__(self) -> Iterator[Tensor]:
        """Make one after the other."""
        for number in range(self.first, self.last):
            generator = torch.Generator().manual_seed(number)
            rough = torch.randn(BATCH, 3, 28, 28, generator=generator)
            rough += torch.randn(BATCH, 1, 1, 1, generator=generator)
            yield nn.functional.interpolate(rough, (SIDE, SIDE), mode="bilinear")


def timed(action: Callable[[], object]) -> dict[str, float]:
    """Return the wall and the CPU seconds that an action takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def peak() -> float:
    """Return the peak of the process's resident memory so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure(count: int, limit: int) -> dict[str, object]:
    """Return times and memory over at least `count` images, within `limit` bytes."""
    model = network("resnet50").eval()
    batches = -(-count // BATCH)
    share = -(-batches // 8)
    notes: tuple[str, ...] = ()

    def plain(images: Images) -> None:
        with torch.no_grad():
            for batch in images:
                model(batch)

    def precise() -> None:
        nonlocal notes
        result = bnc.recompute_statistics(model, Images(0, batches), memory_limit=limit)
        notes = result.report.notes

    before = timed(lambda: plain(Images(0, share)))
    alone = peak()
    own = timed(precise)
    after = timed(lambda: plain(Images(batches - share, batches)))
    scale = batches / (2 * share)
    forward = {clock: (before[clock] + after[clock]) * scale for clock in own}
    return {
        "images": batches * BATCH,
        "limit": limit / 1e6,
        "plain": forward,
        "precise": own,
        "ratio": {clock: own[clock] / forward[clock] for clock in own},
        "peak of the plain forward": alone,
        "peak": peak(),
        "notes": notes,
    }


def report(found: dict[str, object]) -> None:
    """Print the table."""
    plain, own, ratio = found["plain"], found["precise"], found["ratio"]
    assert isinstance(plain, dict)
    assert isinstance(own, dict)
    assert isinstance(ratio, dict)
    rows = [
        (clock, f"{plain[clock]:.0f}", f"{own[clock]:.0f}", f"{ratio[clock]:.2f}")
        for clock in plain
    ]
    asked = f"over plain (asked: {BOUNDS['over plain']})"
    print(table((f"{found['images']} images", "plain s", "precise s", asked), rows))
    print(f"peak {found['peak']:.0f} MB (asked: {BOUNDS['peak']}); {found['notes']}")


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--limit", type=int, default=4000, help="megabytes")
    parser.add_argument("--output", type=Path, default=Path("large_calibration.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(options.images, options.limit * 1_000_000)
    report(found)
    options.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

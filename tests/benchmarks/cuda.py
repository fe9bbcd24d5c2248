"""Measure on a CUDA device: each norm over plain batch norm, precise statistics over a forward.

Run by hand, on a machine that has one: python -m tests.benchmarks.cuda [--rounds 30]
    [--output cuda.json]
Seconds between two events of the device, so that what the host needs to launch counts as well; all
ways interleaved in random order; medians of the ratios within a round, with quartiles. Statistics:
512 images at 224 pixels in batches of 64, ResNet-50; with the device's peak memory.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

import bnconvert as bnc
from bnconvert.reporting.table import table
from tests.benchmarks.norms import summary, ways
from tests.zoo import laid_out, trained

CASES = (
    ((64, 64, 112, 112), torch.float32, torch.contiguous_format),
    ((64, 256, 56, 56), torch.float32, torch.channels_last),
    ((64, 256, 56, 56), torch.float16, torch.channels_last),
    ((64, 1024, 14, 14), torch.float32, torch.contiguous_format),
    ((8, 256, 7, 7), torch.float32, torch.contiguous_format),
)
_WARM = 3
_REPEATS = 5


def milliseconds(work: Callable[[], Any], repeats: int = _REPEATS) -> float:
    """Return the time between events of the device before and after some calls, for one call."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / repeats


def ratios(
    candidates: Mapping[str, Callable[[], Any]], rounds: int, repeats: int = _REPEATS
) -> dict[str, dict[str, float]]:
    """Return, for every way, its time over the first one's in the same round, and milliseconds."""
    base = next(iter(candidates))
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + _WARM):
        for name in random.sample(list(candidates), len(candidates)):
            spent = milliseconds(candidates[name], repeats)
            if turn >= _WARM:
                taken[name].append(spent)
    return {
        name: {
            **summary([a / b for a, b in zip(own, taken[base], strict=True)]),
            "ms": round(sorted(own)[len(own) // 2], 4),
        }
        for name, own in taken.items()
    }


@contextmanager
def stepping(
    shape: tuple[int, ...], dtype: torch.dtype, memory: torch.memory_format
) -> Iterator[dict[str, Callable[[], Any]]]:
    """Give every norm's forward and backward, as a call without arguments."""
    x, gradient = (
        torch.randn(shape, device="cuda", dtype=dtype).to(memory_format=memory) for _ in range(2)
    )

    def step(norm: nn.Module) -> Callable[[], Any]:
        return lambda: norm(x.detach().requires_grad_()).backward(gradient)

    with ExitStack() as stack:
        stack.enter_context(torch.autocast("cuda", dtype, enabled=dtype != torch.float32))
        found = {}
        for name, (norm, domain) in ways(shape[1], shape[0]).items():
            if name.startswith("  select"):
                continue  # its labels lie on the CPU
            if domain is not None:
                stack.enter_context(bnc.domain(norm, domain))
            found[name] = step(norm.cuda().train())
        yield found


def norms(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return the figures of each norm, by case."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    for shape, dtype, memory in CASES:
        layout = "channels_last" if memory == torch.channels_last else "NCHW"
        case = f"{'x'.join(map(str, shape))} {str(dtype)[6:]} {layout}"
        with stepping(shape, dtype, memory) as candidates:
            for name, figures in ratios(candidates, rounds).items():
                results.setdefault(name, {})[case] = figures
    return results


def recomputations(rounds: int) -> dict[str, dict[str, float]]:
    """Return time and peak memory of precise statistics, beside a plain forward and update_bn."""
    from torchvision.models import resnet50

    memory = torch.channels_last
    model = laid_out(trained(resnet50()), memory).cuda()
    images = torch.randn(512, 3, 224, 224, device="cuda").contiguous(memory_format=memory)
    batches = list(images.split(64))

    def plain() -> None:
        with torch.no_grad():
            for batch in batches:
                model.eval()(batch)

    candidates: dict[str, Callable[[], Any]] = {
        "plain eval forward": plain,
        "update_bn": lambda: torch.optim.swa_utils.update_bn(batches, model),
        "aggregate": lambda: bnc.recompute_statistics(model.eval(), batches, method="aggregate"),
        "layerwise": lambda: bnc.recompute_statistics(model.eval(), batches),
        "layerwise, within 2 GB": lambda: bnc.recompute_statistics(
            model.eval(), batches, memory_limit=2_000_000_000
        ),
    }
    found = ratios(candidates, rounds, 1)
    for name, work in candidates.items():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        found[name]["peak MB"] = round((torch.cuda.max_memory_allocated() - before) / 1e6)
    return found


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--output", type=Path, default=Path("cuda.json"))
    options = parser.parse_args()
    results: dict[str, Any] = {
        "device": f"{torch.cuda.get_device_name()}, torch {torch.__version__}",
        "norms": norms(options.rounds),
        "statistics": recomputations(max(options.rounds // 4, 3)),
    }
    print(results["device"], end="\n\n")
    cases = list(results["norms"]["BatchNorm2d"])
    rows = [
        (name, *(_cell(by[case]) if case in by else "" for case in cases))
        for name, by in results["norms"].items()
    ]
    print(table(("forward + backward over BatchNorm2d's", *cases), rows), end="\n\n")
    rows = [
        (name, f"{f['ms']:.1f}", _cell(f), str(f["peak MB"]))
        for name, f in results["statistics"].items()
    ]
    print(table(("ResNet-50, 512 images", "ms", "over plain", "peak MB"), rows))
    options.output.write_text(json.dumps(results, indent=1))


def _cell(figures: Mapping[str, float]) -> str:
    return f"{figures['median']:.2f} [{figures['low']:.2f}, {figures['high']:.2f}]"


if __name__ == "__main__":
    main()

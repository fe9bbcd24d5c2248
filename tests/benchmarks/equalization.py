"""Measure what equalization does to 8-bit weights with one scale for each whole weight.

Run by hand: python -m tests.benchmarks.equalization [--crops 20] [--json equalization.json]
    [--models efficientnet_lite0,mobilenet_v2]

EfficientNet-Lite0 has the ImageNet weights of its package, MobileNetV2 random ones with randomized
norms. Inputs are crops of photographs of scikit-image and scikit-learn. Weights are rounded to 8
bits, symmetric, by the largest |w|; inputs of layers (W8A8) to 8 bits by the range that half of the
crops give. Figures are of the other half: signal to noise ratios of the logits in dB, against the
folded float32 model, and the share of crops that keep their first class. `weights` is the mean over
channels of each one's own ratio.
"""

import argparse
import contextlib
import io
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.graphs.aten import argument
from tests.architectures.zoo import chosen
from tests.benchmarks.text import aligned

LAYERS = ("conv2d", "linear")
SIZE = 224


class Rounded(fx.Interpreter):
    """Runs a graph with 8-bit weights, and 8-bit inputs of layers once ranges are known.

    Attributes:
        ranges: of each layer's input, largest |x|.
        shifts: what is taken from each layer's output, by its name: its bias correction.
    """

    def __init__(self, module: fx.GraphModule, *, per_channel: bool = False) -> None:
        super().__init__(module)
        self.per_channel = per_channel
        self.quantize_weights = self.quantize_inputs = True
        self.ranges: dict[str, tuple[float, float]] = {}
        self.shifts: dict[str, Tensor] = {}
        self.means: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        name = getattr(n.target, "__name__", "").partition(".")[0]
        if n.op != "call_function" or name not in LAYERS:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        x, weight, *rest = args
        low, high = self.ranges.get(n.name, (0.0, 0.0))
        if not self.quantize_inputs:
            self.ranges[n.name] = (min(low, float(x.min())), max(high, float(x.max())))
        else:
            step = (high - low) / 255
            zero = round(-low / step)
            x = ((x / step).round() + zero).clamp(0, 255).sub(zero) * step
        if self.quantize_weights:
            weight = in_8_bits(weight, per_channel=self.per_channel)
        y = self.call_function(n.target, (x, weight, *rest), kwargs)
        axis = 1 if name == "conv2d" else y.dim() - 1
        self.means[n.name] = y.mean([i for i in range(y.dim()) if i != axis], keepdim=True)
        return y - self.shifts[n.name] if n.name in self.shifts else y


def in_8_bits(weight: Tensor, *, per_channel: bool) -> Tensor:
    axes = list(range(1, weight.dim()))
    step = (weight.abs().amax(axes, keepdim=True) if per_channel else weight.abs().max()) / 127
    step = torch.where(step > 0, step, torch.ones_like(step))
    return (weight / step).round().clamp(-127, 127) * step


def decibels(truth: Tensor, measured: Tensor) -> float:
    noise = float((measured - truth).double().square().sum())
    return 10 * math.log10(float(truth.double().square().sum()) / max(noise, 1e-300))


def crops(count: int) -> Tensor:
    """Return that many crops of each of five photographs, as EfficientNet-Lite0 takes them."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    generator = torch.Generator().manual_seed(0)
    found = []
    for photograph in (
        *load_sample_images().images,
        data.astronaut(),
        data.coffee(),
        data.chelsea(),
    ):
        image = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None].float()
        image = F.interpolate(image, (320, 400), mode="bicubic", antialias=True).clamp(0, 255)
        for _ in range(count):
            top, left = (int(torch.randint(n, (), generator=generator)) for n in (96, 176))
            found.append(image[..., top : top + SIZE, left : left + SIZE])
    return (torch.cat(found) - 127) / 128


def corrected(quantized: Rounded, module: fx.GraphModule, images: Tensor) -> None:
    """Correct the biases layer by layer, by the mean error of each output on the images."""
    truth = Rounded(module)
    truth.quantize_weights = truth.quantize_inputs = False
    truth.run(images)
    for name in truth.means:
        quantized.run(images)
        quantized.shifts[name] = quantized.means[name] - truth.means[name]


def figures(
    module: fx.GraphModule, reference: Tensor, images: Tensor, *, correct: bool, **how: Any
) -> dict[str, float]:
    """Return the figures of one module, measured on the second half of the images."""
    half = len(images) // 2
    signal: dict[str, float] = defaultdict(float)
    for node in module.graph.nodes:
        if getattr(node.target, "__name__", "").partition(".")[0] in LAYERS:
            weight = module.get_parameter(str(argument(node, "weight").target)).detach()
            rounded = in_8_bits(weight, per_channel=how.get("per_channel", False))
            # of each channel, so that the large ones do not hide what the small ones lose
            axes = list(range(1, weight.dim()))
            size = weight.square().mean(axes) + 1e-30
            noise = (weight - rounded).square().mean(axes) / size
            signal["noise"] += float(noise.clamp(max=1).sum())
            signal["channels"] += len(noise)
    quantized = Rounded(module, **how)
    quantized.quantize_weights = quantized.quantize_inputs = False
    quantized.run(images[:half])
    quantized.quantize_weights = True
    row = {"weights": -10 * math.log10(signal["noise"] / signal["channels"])}
    for inputs in (False, True):
        quantized.shifts = {}
        quantized.quantize_inputs = inputs
        ways = ("", " corrected") if correct and inputs else ("",)
        for way in ways:
            if way:
                corrected(quantized, module, images[: min(half, 10)])
            logits = quantized.run(images[half:])
            name = f"{'W8A8' if inputs else 'W8'}{way}"
            row[name] = decibels(reference[half:], logits)
            agree = (logits.argmax(-1) == reference[half:].argmax(-1)).double().mean()
            row[f"{name} top-1"] = 100 * float(agree)
    return row


def network(name: str) -> nn.Module:
    group = {"efficientnet_lite0": "misc", "mobilenet_v2": "tv"}[name]
    with contextlib.redirect_stdout(io.StringIO()):
        (architecture,) = chosen([f"{group}:{name}"])
        return architecture.make()[0]


@torch.no_grad()
def measured(name: str, count: int, *, correct: bool) -> list[dict[str, Any]]:
    """Return the figures of a network as it is folded, and equalized in each way."""
    images = crops(count)
    folded = bnc.fold(network(name), (images[:2],))
    reference = folded.module(images)
    rows: list[dict[str, Any]] = []

    def add(way: str, module: nn.Module, **how: Any) -> None:
        assert isinstance(module, fx.GraphModule)
        moved = decibels(reference, module(images))
        found = figures(module, reference, images, correct=correct, **how)
        rows.append({"model": name, "way": way, "float": min(moved, 300.0), **found})
        print(json.dumps(rows[-1]), flush=True)

    add("folded", folded.module)
    for relu6 in ("keep", "per-channel", "relu"):
        add(f"equalized, {relu6}", bnc.equalize(folded, relu6=relu6).module)
    corrected = bnc.equalize(folded, relu6="per-channel", biases="per-tensor")
    add("equalized, per-channel, biases", corrected.module)
    add("folded, a scale for each channel", folded.module, per_channel=True)
    corrected = bnc.equalize(folded, biases="per-channel")
    add("a scale for each channel, biases", corrected.module, per_channel=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="efficientnet_lite0,mobilenet_v2")
    parser.add_argument("--crops", type=int, default=20, help="of each photograph")
    parser.add_argument("--correct", action="store_true", help="correct biases too, by data")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = [
        row
        for name in given.models.split(",")
        for row in measured(name, given.crops, correct=given.correct)
    ]
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    names = list(rows[0])
    said = [[r[n] if isinstance(r[n], str) else f"{r[n]:.1f}" for n in names] for r in rows]
    print(aligned(names, said))


if __name__ == "__main__":
    main()

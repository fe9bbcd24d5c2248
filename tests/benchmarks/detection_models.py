"""Thirty small models to plant faults in, and the ways to make correct files of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.torch_private.silence import quiet
from tests import zoo
from tests.benchmarks import rivals
from tests.random_networks import SHAPE, RandomNetwork

_TIMM = (
    "test_byobnet", "test_efficientnet", "test_resnet", "test_convnext", "test_mambaout",
    "test_efficientnet_gn", "test_efficientnet_ln", "test_nfnet",
)  # fmt: skip
_ZOO = (
    "plain", "residual", "conv_called_twice", "standardized_conv", "functional", "depthwise",
    "reflect_padding", "series", "volume", "vector", "linear_on_sequences", "two_inputs",
)  # fmt: skip
_RANDOM = tuple(f"random_{seed}" for seed in range(12))
MODELS = (*_TIMM, *_ZOO, *_RANDOM)[:30]


def built(name: str, seed: int) -> tuple[nn.Module, Example]:
    """Return a model with weights and statistics drawn by a seed, and inputs for it."""
    torch.manual_seed(seed)
    if name in _TIMM:
        import timm

        model = zoo.trained(timm.create_model(name, pretrained=False, num_classes=12), seed)
        return model, Example.of((torch.randn(2, 3, 64, 64),))
    if name in _ZOO:
        model, inputs = zoo.build(name)
        fresh = model if seed == 0 else _redrawn(model, seed)
        return fresh, Example.of(inputs)
    number = int(name.partition("_")[2]) + 1000 * seed
    return RandomNetwork(number).float(), Example.of((torch.randn(SHAPE),))


def _redrawn(model: nn.Module, seed: int) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            module.reset_parameters()
    return zoo.trained(model, seed)


def _unoptimized(model: nn.Module, example: Example, path: Path) -> None:
    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            model, example.args, kwargs=example.kwargs, dynamo=True, optimize=False
        )
    assert program is not None
    program.save(str(path), external_data=False)


def _by_runtime(level: str) -> Callable[[Path, Path], None]:
    """Return what writes a file as ONNX Runtime optimizes it."""

    def optimize(base: Path, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(path)
        options.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}"
        )
        onnxruntime.InferenceSession(str(base), options, providers=["CPUExecutionProvider"])

    return optimize


_FROM_MODEL: dict[str, Callable[[nn.Module, Example, Path], Any]] = {
    "ours": lambda model, example, path: bnc.export(model, example, path),
    "torch.onnx": rivals.torch_onnx,
    "torch.onnx, unoptimized": _unoptimized,
}
_FROM_FILE: dict[str, Callable[[Path, Path], None]] = {
    "onnxslim": rivals.onnxslim,
    "ONNX Runtime, basic": _by_runtime("BASIC"),
}


def correct_files(
    name: str, model: nn.Module, example: Example, folder: Path
) -> Iterator[tuple[str, Path]]:
    """Yield files that compute the model, each with how it was made; ways that fail are left out.

    Files of torch's exporter come first, so that one is always there.
    """
    base: Path | None = None
    for way, make in _FROM_MODEL.items():
        path = folder / f"{way.replace(', ', '_')}.onnx"
        try:
            make(model, example, path)
        except bnc.VerificationError as failure:
            # what we refuse to export must count as a false alarm, and not be left out
            path = next(iter(folder.glob(f"{path.stem}*failed*")), path)
            print(f"{name}: {way}: {failure}", flush=True)
        except Exception:
            continue
        if path.exists():
            base = base or path
            yield way, path
    for way, change in _FROM_FILE.items():
        if base is None:
            return
        path = folder / f"{way.replace(', ', '_')}.onnx"
        try:
            change(base, path)
            onnx.load(path)
        except Exception:
            continue
        yield way, path

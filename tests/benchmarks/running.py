"""Run files in ONNX Runtime and OpenVINO on one thread, and time them against each other."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

#: A run that is shorter is repeated, so that the clock's steps do not matter.
SHORTEST = 5e-3
WARM_UP = 2
#: Times are taken over newly loaded files, since where memory lies makes some per cent.
LOADINGS = 3
#: Seconds for one batch after one loading, beyond which there are fewer rounds, but so many.
ENOUGH, FEWEST = 8.0, 3


class Runner(Protocol):
    """Something that takes tensors in the order of the model's inputs."""

    def bound(self, inputs: Sequence[Tensor]) -> Callable[[], Any]:
        """Return what runs on these inputs, and does nothing beside."""
        ...

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs in order."""
        ...


class OnnxRuntime:
    """A file in ONNX Runtime, with its default optimizations."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._names = [value.name for value in self._session.get_inputs()]

    def bound(self, inputs: Sequence[Tensor]) -> Callable[[], Any]:
        feed = dict(zip(self._names, map(_array, inputs), strict=True))
        return partial(self._session.run, None, feed)

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        return [torch.from_numpy(np.asarray(output)) for output in self.bound(inputs)()]


class OpenVino:
    """A file in OpenVINO, in float32."""

    def __init__(self, path: Path) -> None:
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self.compiled: Any = openvino.Core().compile_model(str(path), "CPU", settings)
        self._request = self.compiled.create_infer_request()

    def bound(self, inputs: Sequence[Tensor]) -> Callable[[], Any]:
        feed = [_array(tensor) for tensor in inputs]
        return partial(self._request.infer, feed, share_inputs=True, share_outputs=True)

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        answers = self.bound(inputs)()
        return [torch.from_numpy(np.array(answers[port])) for port in self.compiled.outputs]


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()


def race(
    loaders: Mapping[str, Callable[[], Runner]], batches: Sequence[Sequence[Tensor]], rounds: int
) -> list[dict[str, list[float]]]:
    """Return, for each batch, the CPU seconds of every runner in every round.

    The order in a round is random. A runner that does not take a batch is left out there.
    """
    found: list[dict[str, list[float]]] = [{} for _ in batches]
    order, dice = list(loaders), random.Random(0)
    for _ in range(LOADINGS):
        dice.shuffle(order)
        runners = {name: loaders[name]() for name in order}
        for times, inputs in zip(found, batches, strict=True):
            for name, taken in _rounds(runners, inputs, -(-rounds // LOADINGS), dice).items():
                times.setdefault(name, []).extend(taken)
    return found


def _rounds(
    runners: Mapping[str, Runner], inputs: Sequence[Tensor], rounds: int, dice: random.Random
) -> dict[str, list[float]]:
    runs: dict[str, tuple[Callable[[], Any], int]] = {}
    spent = 0.0
    for name, runner in runners.items():
        try:
            once = runner.bound(inputs)
            taken = min(_seconds(once, 1) for _ in range(WARM_UP))
        except Exception:
            continue
        runs[name] = once, max(1, round(SHORTEST / max(taken, 1e-6)))
        spent += max(taken, SHORTEST)
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    rounds = min(rounds, max(FEWEST, int(ENOUGH / max(spent, 1e-6))))
    for _ in range(rounds):
        dice.shuffle(order)
        for name in order:
            times[name].append(_seconds(*runs[name]))
    return times


def _seconds(run: Callable[[], Any], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        run()
    return (time.process_time() - start) / repeats

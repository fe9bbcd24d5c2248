"""Measure one model in every column: what is left, how far off, how long, how fast."""

import contextlib
import gc
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnconvert.errors import InconclusiveError, VerificationError
from bnconvert.graphs.example import Example
from bnconvert.reporting.report import Report
from tests.architectures.answers import in_double, outputs, worst_error
from tests.architectures.zoo import BY_NAME
from tests.benchmarks import graphs, rivals
from tests.benchmarks.isolated import Row, one_line
from tests.benchmarks.running import OnnxRuntime, OpenVino, Runner, race
from tests.benchmarks.zoo_survey import kind_of

BATCHES = (1, 8)
#: On how many inputs, beside the example, the outputs are compared.
DRAWS = 3
#: Who runs a column's file, if it is not ONNX Runtime.
LOADS: dict[str, Callable[[Path], Runner]] = dict.fromkeys(rivals.IN_OPENVINO, OpenVino)


@dataclass
class Measured:
    """One column's figures for one model.

    Attributes:
        failure: why there is no file, or what is wrong with it; empty for neither.
        seconds: to make the file, all steps included; processor_seconds likewise.
        graph: what is left in it.
        distance: the largest error, relative to the output, in float32.
        outcomes: ours only: rows by outcome.
        folds: ours only: folded rows by kind of fold.
    """

    failure: str = ""
    seconds: float | None = None
    processor_seconds: float | None = None
    graph: graphs.Graph | None = None
    distance: float | None = None
    outcomes: dict[str, int] = field(default_factory=dict)
    folds: dict[str, int] = field(default_factory=dict)


def measure_one(name: str, columns: Sequence[str], rounds: int) -> Row:
    """Return a model's figures: its own, by column, and the times of every round."""
    model, inputs = BY_NAME[name].make()
    example = Example.of(inputs)
    _warm_up(model, example, columns)
    found: dict[str, Measured] = {}
    loaders: dict[str, Callable[[], Runner]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for column in _with_starts(columns):
            measured = Measured()
            try:
                path = _make(column, model, example, Path(folder), measured)
            except rivals.NotApplicableError:
                continue
            except Exception as failure:
                measured.failure = one_line(failure)
            else:
                loaders[column] = partial(LOADS.get(column, OnnxRuntime), path)
            found[column] = measured
        _add_starts(found)
        own, remark = _compare(model, example, loaders, found)
        times = race(loaders, [_batch_of(example, batch) for batch in BATCHES], rounds)
    return {
        "family": BY_NAME[name].family,
        "trained": BY_NAME[name].is_trained,
        "norms": sum(1 for _, module in model.named_modules() if _has_statistics(module)),
        "own distance": own,
        "remark": remark,
        "columns": {column: asdict(measured) for column, measured in found.items()},
        "times": {
            str(batch): {name: [round(t * 1e6, 1) for t in taken] for name, taken in by.items()}
            for batch, by in zip(BATCHES, times, strict=True)
        },
    }


def _make(
    column: str, model: nn.Module, example: Example, folder: Path, measured: Measured
) -> Path:
    """Make the column's file, and note the time and the graph."""
    path = folder / f"{column}.onnx"
    start = folder / f"{rivals.STARTS.get(column, column)}.onnx"
    if column in rivals.FROM_MODEL:
        makes = rivals.FROM_MODEL[column]
        path = _timed(measured, lambda: _ours_or(makes, model, example, path, measured))
    elif not start.exists():
        raise ValueError(f"{start.stem} makes no file for it")
    elif column in rivals.IN_OPENVINO:
        runner = _timed(measured, lambda: OpenVino(start))
        measured.graph = graphs.read_openvino(runner.compiled, start)
        return start
    else:
        _timed(measured, lambda: rivals.FROM_FILE[column](start, path))
    measured.graph = graphs.read(path)
    return path


def _ours_or(
    makes: Callable[[nn.Module, Example, Path], Report | None],
    model: nn.Module,
    example: Example,
    path: Path,
    measured: Measured,
) -> Path:
    """Make a file from a model; what is not proven is measured too, and the reason noted."""
    try:
        report = makes(model, example, path)
    except VerificationError as failure:
        measured.failure = f"not verified: {one_line(failure)}"
        report, path = failure.report, path.with_name(f"{path.stem}.failed.onnx")
    except InconclusiveError as failure:
        measured.failure = f"cannot be judged: {'; '.join(failure.reasons)}"
        report, path = failure.report, path.with_name(f"{path.stem}.unproven.onnx")
    if report is not None:
        folded = [row for row in report.norms if row.outcome == "folded"]
        measured.outcomes = dict(Counter(row.outcome for row in report.norms))
        measured.folds = dict(Counter(map(kind_of, folded)))
    return path


def _timed(measured: Measured, work: Callable[[], Any]) -> Any:
    gc.collect()
    start, spent = time.perf_counter(), time.process_time()
    result = work()
    measured.seconds = time.perf_counter() - start
    measured.processor_seconds = time.process_time() - spent
    return result


def _with_starts(columns: Sequence[str]) -> list[str]:
    """Return the columns in order, with those that the others start from, and the base."""
    wanted = {rivals.BASE, *columns, *(rivals.STARTS[c] for c in columns if c in rivals.STARTS)}
    return [column for column in rivals.COLUMNS if column in wanted]


def _add_starts(found: dict[str, Measured]) -> None:
    """Add to the columns that start from another's file what that took."""
    for column, start in rivals.STARTS.items():
        measured = found.get(column, Measured())
        if measured.seconds is not None and measured.processor_seconds is not None:
            measured.seconds += found[start].seconds or 0
            measured.processor_seconds += found[start].processor_seconds or 0


def _compare(
    model: nn.Module,
    example: Example,
    loaders: dict[str, Callable[[], Runner]],
    found: dict[str, Measured],
) -> tuple[float, str]:
    """Note each column's largest error over some inputs; return the model's own, and a remark.

    What does not run is noted, and gone from `loaders`.
    """
    generator = torch.Generator().manual_seed(7)
    examples, natives = [example], [outputs(model, example)]
    for one in (example.like(generator) for _ in range(DRAWS)):
        with contextlib.suppress(RuntimeError):  # lengths, which must be sorted
            natives.append(outputs(model, one))
            examples.append(one)
    model, _, remark = in_double(model, example)
    truths = natives if remark else [outputs(model, one.in_double()) for one in examples]
    for column, load in list(loaders.items()):
        try:
            runner = load()
            answers = [runner.run(one.tensors()) for one in examples]
        except Exception as failure:
            found[column].failure = f"does not run: {one_line(failure)}"
            del loaders[column]
            continue
        found[column].distance = max(map(worst_error, answers, truths))
    return max(map(worst_error, natives, truths)), remark


def _batch_of(example: Example, batch: int) -> list[Tensor]:
    """Return the inputs with this many rows, the example's over and over."""
    count = example.batch or 1
    return example.rows([row % count for row in range(batch)]).tensors()


def _has_statistics(module: nn.Module) -> bool:
    return module._buffers.get("running_mean") is not None


def _warm_up(model: nn.Module, example: Example, columns: Sequence[str]) -> None:
    """Do everything once, so that the first column does not pay for imports and caches."""
    small = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    images = Example.of((torch.randn(2, 3, 16, 16),))
    with tempfile.TemporaryDirectory() as folder:
        base, other = (Path(folder) / f"{name}.onnx" for name in ("base", "other"))
        rivals.torch_onnx(small, images, base)
        rivals.ours(small, images, other)
        for column in rivals.FROM_FILE.keys() & set(columns):
            rivals.FROM_FILE[column](base, other)
        with contextlib.suppress(Exception):  # which will be told where it is measured
            rivals.torch_onnx(model, example, base)

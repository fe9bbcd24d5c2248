"""The file computes what the model does, by a comparison of its own."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from tests.random_networks.closeness import outputs, reach, require_close
from tests.random_networks.interfaces import Drawn
from tests.random_networks.properties.folding import dynamic_shapes
from tests.random_networks.snapshot import Snapshot
from tests.random_networks.verdicts import NotAskedError, WrongError

#: How much further the file may be off than the model is in float32.
_FACTOR = 50
_SIZES = ((3, 0), (1, 0), (5, 0), (2, 3))


def exports(drawn: Drawn) -> None:
    """Export, and compare the file, also one that is not proven."""
    model = drawn.model(torch.float32)
    example = drawn.example(dtype=torch.float32)
    before, shapes = Snapshot.of(model), dynamic_shapes(drawn, example)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        try:
            bnc.export(model, example, path, dynamic_shapes=shapes)
        except bnc.VerificationError as failure:
            _explain(drawn, failure, failure.path or path)
        except bnc.InconclusiveError as failure:
            _compare_file(drawn, failure.path or path)
            raise
        finally:
            before.require(model, "export")
        _compare_file(drawn, path)
    if drawn.traits.stateful:
        raise WrongError("exported, although its forward changes the buffer 'calls'")


def _explain(drawn: Drawn, failure: bnc.VerificationError, path: Path) -> None:
    """Raise what is wrong: the file, or what is said of it."""
    said = str(failure)[:500]
    if _normalizes_by_batch(drawn.truth()):
        raise NotAskedError("a norm without running statistics mixes the batch") from failure
    try:
        _compare_file(drawn, path)
    except WrongError as wrong:
        raise WrongError(f"written wrong and found: {wrong}; {said}") from failure
    raise WrongError(f"false alarm? {said}") from failure


def _normalizes_by_batch(model: nn.Module) -> bool:
    norms = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return any(norm.running_mean is None for norm in norms)


def _wide(drawn: Drawn) -> nn.Module:
    """Return the model with weights of float32, which computes in float64."""
    return drawn.truth(torch.float32).double()


def _examples(drawn: Drawn, session: Any) -> Iterator[tuple[str, Example]]:
    """Give fresh inputs of sizes for which the file is made and which the model takes."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else [3]
    is_batch, is_size = isinstance(shape[0], str), all(isinstance(n, str) for n in shape[2:])
    for rows, grown in _SIZES:
        if (rows != 3 and not is_batch) or (grown and not is_size):
            continue
        example = drawn.example(rows, grown, seed=100 + rows, dtype=torch.float32)
        try:
            outputs(_wide(drawn), example.in_double())
        except Exception:  # the network is not for this size
            continue
        yield f"file, {rows} rows, {grown} larger", example


def _compare_file(drawn: Drawn, path: Path) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    for what, example in _examples(drawn, session):
        tensors = example.tensors()
        if len(inputs) > len(tensors):
            raise WrongError(f"the file has {len(inputs)} inputs for {len(tensors)}")
        if len(inputs) < len(tensors):
            raise NotAskedError("an input of the model is read by nothing")
        feeds = {i.name: t.numpy() for i, t in zip(inputs, tensors, strict=True)}
        try:
            found = [torch.from_numpy(a) for a in session.run(None, feeds)]
        except Exception as failure:
            raise WrongError(f"{what}: does not run: {failure}") from failure
        found = [value for value in found if value.dim()]  # but for numbers
        truth = outputs(_wide(drawn), example.in_double())
        reaches = _own_errors(drawn, example, truth)
        # a number that is rounded to another side in bfloat16 moves by 2^-8, and seldom in a trial
        least = 2e-2 if drawn.traits.casts or drawn.traits.autocast else 1e-5
        require_close(found, truth, reaches, factor=_FACTOR, least=least, what=what)


def _own_errors(drawn: Drawn, example: Example, truth: list[Tensor]) -> list[Tensor]:
    """Return how far the model itself is off in float32, and where its weights are rounded."""
    single = outputs(drawn.truth(torch.float32), example)
    own = [(s.double() - t).abs().nan_to_num(0, 0, 0) for s, t in zip(single, truth, strict=True)]
    moves = reach(_wide(drawn), example.in_double(), 1e-7)
    return [torch.maximum(a, b) for a, b in zip(own, moves, strict=True)]

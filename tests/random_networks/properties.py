"""What must hold of every random network: one function for each, which raises what broke."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.modules.rewrite import Rewrite
from tests.random_networks.closeness import outputs, reach, require_close
from tests.random_networks.interfaces import Drawn
from tests.random_networks.naive import naive_statistics
from tests.random_networks.snapshot import Snapshot
from tests.random_networks.verdicts import NotAskedError, WrongError

_EXACT = {"factor": 1.0, "least": 1e-12}
#: Rows, and by how much larger the images are.
_OTHERS = ((1, 0), (5, 0), (2, 3), (3, 4))


def _truth(drawn: Drawn) -> nn.Module:
    """Build the model once more, which no verb has seen; a part in training mode is so."""
    return drawn.model()


def _other_examples(drawn: Drawn) -> Iterator[tuple[str, Example]]:
    """Give inputs of other sizes that the model takes."""
    for rows, grown in _OTHERS:
        example = drawn.example(rows, grown, seed=rows)
        try:
            outputs(_truth(drawn), example)
        except Exception:  # the network is not for this size
            continue
        yield f"{rows} rows, {grown} larger", example


def _dynamic(drawn: Drawn, model: nn.Module, example: Example) -> Any:
    """Return dynamic shapes for half of the networks: every axis but the channels."""
    if not drawn.traits.rank or drawn.seed % 2:
        return None

    def axes(tensor: Any) -> Any:
        if not isinstance(tensor, Tensor):
            return None
        return {axis: torch.export.Dim.AUTO for axis in range(tensor.dim()) if axis != 1}

    return example.shapes(axes, model)


def _compare(drawn: Drawn, module: Any, example: Example, what: str) -> None:
    truth = outputs(_truth(drawn), example)
    reaches = reach(_truth(drawn), example)
    require_close(outputs(module, example), truth, reaches, what=what, **_EXACT)


def folds(drawn: Drawn) -> None:
    """The folded and the grafted model compute what the model does, at other sizes too."""
    model, example = drawn.model(), drawn.example()
    before = Snapshot.of(model)
    try:
        folded = bnc.fold(model, example, dynamic_shapes=_dynamic(drawn, model, example))
        graft = folded.graft(model)
    finally:
        before.require(model, "fold or graft")
    _compare(drawn, folded.module, example, "fold")
    _compare(drawn, graft, example, "graft")
    for what, other in _other_examples(drawn):
        _compare(drawn, graft, other, f"graft, {what}")
        try:
            outputs(folded.module, other)
        except Exception:  # the graph is made for another size, and says so
            continue
        _compare(drawn, folded.module, other, f"fold, {what}")
    before.require(model, "what fold returned")
    if not all(row.reason for row in folded.report.norms):
        raise WrongError("a norm stands without a reason")


def _policies(drawn: Drawn) -> list[Rewrite]:
    """Draw two policies that promise to leave the eval function alone."""
    every: list[Rewrite] = [
        bnc.Keep(),
        bnc.Frozen(),
        bnc.Frozen(affine="trainable"),
        bnc.Sync(),
        bnc.Ghost(1),
        bnc.Renorm(),
        bnc.Separate(),
        bnc.Separate(affine="separate", each=bnc.Ghost(1)),
        bnc.Separate(domains="calls"),
    ]
    if drawn.traits.inputs in ("one", "two"):  # others are no batch for it
        every.append(bnc.Virtual(drawn.example().args, per_sample=drawn.seed % 4 == 0))
    return Random(drawn.seed).sample(every, 2)


def converts(drawn: Drawn) -> None:
    """A policy does what its plan says, leaves the eval function alone and can be reverted."""
    refusal: bnc.RefusedError | None = None
    for policy in _policies(drawn):
        try:
            _converts(drawn, policy)
        except bnc.RefusedError as failure:
            refusal = failure
    if refusal is not None:
        raise refusal


def _converts(drawn: Drawn, policy: Rewrite) -> None:
    model, example = drawn.model(), drawn.example()
    before, name = Snapshot.of(model), repr(policy)[:40]
    planned = bnc.plan(model, policy)
    before.require(model, f"plan {name}")
    try:
        converted = bnc.convert(model, policy)
    except bnc.RefusedError as failure:
        if failure.refusals != planned.refusals:
            raise WrongError(f"{name}: plan refuses other norms than convert") from failure
        raise
    finally:
        before.require(model, f"convert {name}")
    if planned.refusals:
        raise WrongError(f"{name}: the plan refuses what convert does")
    _require_as_planned(model, converted, planned, name)
    _require_reverted(drawn, bnc.revert(converted), name)
    if not any(m.training for m in model.modules()):
        _compare(drawn, converted, example, f"convert {name}")
    before.require(model, f"revert {name}")


def _require_as_planned(
    model: nn.Module, converted: nn.Module, planned: bnc.Plan, name: str
) -> None:
    """Raise unless exactly the modules are of another class that the plan names."""
    classes = {path: type(m) for path, m in model.named_modules(remove_duplicate=False)}
    now = {path: type(m) for path, m in converted.named_modules(remove_duplicate=False)}
    replaced = {path for path, kind in classes.items() if now.get(path) is not kind}
    if replaced != set(planned.edits()):
        raise WrongError(f"{name}: convert replaced {replaced}, the plan {set(planned.edits())}")


def _require_reverted(drawn: Drawn, reverted: nn.Module, name: str) -> None:
    """Raise unless classes, state and outputs are those of a new model, bit by bit."""
    model, example = drawn.model(), drawn.example()
    was, now = model.state_dict(), reverted.state_dict()
    if list(was) != list(now) or not all(torch.equal(was[key], now[key]) for key in was):
        raise WrongError(f"revert {name}: another state")
    # a parametrized layer has a class of its own
    modes = [[(type(m).__qualname__, m.training) for m in n.modules()] for n in (model, reverted)]
    if modes[0] != modes[1]:
        raise WrongError(f"revert {name}: other classes or modes")
    pairs = zip(outputs(model, example), outputs(reverted, example), strict=True)
    if not all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in pairs):
        raise WrongError(f"revert {name}: other outputs")


def recomputes(drawn: Drawn) -> None:
    """Layerwise statistics are those of the naive way, a norm after the other."""
    model = drawn.model()
    batches = [drawn.example(rows, seed=rows) for rows in (2, 4, 3)]
    before = Snapshot.of(model)

    def forward(model: nn.Module, batch: Example) -> Any:
        return model(*batch.args, **batch.kwargs)

    try:
        result = bnc.recompute_statistics(model, batches, forward=forward)
    except BaseException:
        before.require(model, "recompute_statistics, which failed,")
        raise
    naive_statistics(_truth(drawn).eval(), model, batches, result.report)
    result.undo()
    before.require(model, "recompute_statistics and undo")


def exports(drawn: Drawn) -> None:
    """The file computes what the model does, by a comparison of its own."""
    model = drawn.model(torch.float32)
    example = drawn.example(dtype=torch.float32)
    before = Snapshot.of(model)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        try:
            bnc.export(model, example, path)
        except bnc.VerificationError as failure:
            said = str(failure)[:500]
            if _normalizes_by_batch(model) and "depends on the rest of its batch" in said:
                raise NotAskedError(
                    "a norm without running statistics mixes the batch"
                ) from failure
            try:
                _compare_file(drawn, failure.path or path)
            except WrongError as wrong:
                raise WrongError(f"written wrong and found: {wrong}; {said}") from failure
            raise WrongError(f"false alarm? {said}") from failure
        except bnc.InconclusiveError as failure:
            _compare_file(drawn, failure.path or path)
            raise
        finally:
            before.require(model, "export")
        _compare_file(drawn, path)
    if drawn.traits.stateful:
        raise WrongError("exported, although its forward changes the buffer 'calls'")


def _normalizes_by_batch(model: nn.Module) -> bool:
    norms = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return any(norm.running_mean is None for norm in norms)


def _compare_file(drawn: Drawn, path: Path) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    sizes = (3, 1, 5) if inputs and isinstance(inputs[0].shape[0], str) else (3,)
    for rows in sizes:
        example = drawn.example(rows, seed=100 + rows, dtype=torch.float32)
        tensors = example.tensors()
        if len(inputs) > len(tensors):
            raise WrongError(f"the file has {len(inputs)} inputs for {len(tensors)}")
        if len(inputs) < len(tensors):
            raise NotAskedError("an input of the model is read by nothing")
        feeds = {i.name: t.numpy() for i, t in zip(inputs, tensors, strict=True)}
        found = [torch.from_numpy(a) for a in session.run(None, feeds)]
        found = [value for value in found if value.dim()]  # but for numbers
        wide = example.in_double()
        truth = outputs(_truth_in_double(drawn), wide)
        single = outputs(drawn.model(torch.float32).eval(), example)
        own = [
            (s.double() - t).abs().nan_to_num(0, 0, 0) for s, t in zip(single, truth, strict=True)
        ]
        moves = reach(_truth_in_double(drawn), wide, 1e-7)
        reaches = [torch.maximum(a, b) for a, b in zip(own, moves, strict=True)]
        # a number that is rounded to another side in bfloat16 moves by 2^-8, and seldom in a trial
        least = 2e-2 if drawn.traits.casts or drawn.traits.autocast else 1e-5
        what = f"file, {rows} rows"
        require_close(found, truth, reaches, factor=50, least=least, what=what)


def _truth_in_double(drawn: Drawn) -> nn.Module:
    return drawn.model(torch.float32).double().eval()


PROPERTIES: dict[str, Callable[[Drawn], None]] = {
    "fold": folds,
    "convert": converts,
    "statistics": recomputes,
    "export": exports,
}

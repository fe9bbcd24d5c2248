"""`capture`: the eval model as an fx graph of ATen operators, by torch.export, on a copy."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.utils import _pytree as pytree

from bnconvert.errors import CaptureError, UnsupportedModelError, first_line
from bnconvert.graphs.aten import normalize_batch_norms
from bnconvert.graphs.example import Example
from bnconvert.graphs.functionalizing import functional_module
from bnconvert.graphs.single_sizes import larger_than_one
from bnconvert.graphs.size_limits import SizeLimits
from bnconvert.graphs.state import why_stateful
from bnconvert.graphs.subgraphs import switches_autocast_off
from bnconvert.graphs.torch_words import reason_of
from bnconvert.modules.copying import copy_model
from bnconvert.modules.preserving import preserved
from bnconvert.modules.surgery import replace_by_plain_batch_norm
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.torch_private.one_at_a_time import one_at_a_time
from bnconvert.torch_private.silence import quiet
from bnconvert.torch_private.size_guards import add_guards, in_words

#: What the axis of the batch is called: a single sample is doubled where it may vary.
BATCH = "batch"
Mode = Literal["non-strict", "strict"]


@dataclass(frozen=True, eq=False)
class Captured:
    """A captured model; whoever rewrites its graph does so on a copy.

    Attributes:
        module: the graph of functional ATen operators; its weights are copies of its own.
        example: the inputs that it was captured with; a single sample is doubled.
        dynamic_shapes: what may vary, as torch.export or torch.onnx take it; None for nothing.
        range_constraints: what symbolic sizes may be, as torch.export found it.
        limits: the sizes for which the graph is what the model computes.
        notes: what had to be done otherwise than asked, with the reason.
    """

    module: fx.GraphModule
    example: Example
    dynamic_shapes: Any
    range_constraints: Mapping[Any, Any]
    limits: SizeLimits
    notes: tuple[str, ...]


@one_at_a_time()
def capture(
    model: nn.Module,
    example: Example,
    dynamic_shapes: Any = None,
    *,
    modes: Sequence[Mode] = ("non-strict", "strict"),
) -> Captured:
    """Capture the eval model as a functional graph of ATen operators.

    The model is deep-copied first, because a captured module shares its Parameters; norms that
    are batch norm in eval (frozen ones too) become plain batch norm in the copy. A model in
    training mode is captured in eval mode; a norm that is in training
    mode inside an eval model is captured as what it is.

    Args:
        model: an eager module.
        example: its inputs.
        dynamic_shapes: as for torch.export, where a name in place of a Dim says that the axis may
            have any size; by default the batch size may vary, falling back to fixed shapes and
            then to strict capture of both.
        modes: torch.export's modes to try.

    Raises:
        CaptureError: torch.export fails every way, which says whether the given shapes are why;
            or the forward changes state.
        UnsupportedModelError: the copy runs modules of the model itself.
    """
    notes: list[str] = []
    if refusal := why_stateful(model, example):
        raise CaptureError(str(refusal))
    copy = eval_copy(model)
    attempts = [a for a in _capture_attempts(model, example, dynamic_shapes) if a.mode in modes]
    done, failures = _first_that_succeeds(model, copy, attempts)
    if done is None:
        raise _refusal(model, copy, example, dynamic_shapes, failures)
    attempt, program, module = done
    if failures:
        said = (f"{tried.name}: {first_line(failure)}" for tried, failure in failures.items())
        notes.append(f"captured with {attempt.name}, because {'; '.join(said)}")
    if switches_autocast_off(program.graph_module):
        notes.append("its forward switches autocast off: run what is captured without autocast")
    limits = SizeLimits.of(program)
    if limits.conditions:
        notes.append(f"the graph is what the model computes where {limits}")
    ranges = program.range_constraints
    return Captured(module, attempt.example, attempt.dynamic_shapes, ranges, limits, tuple(notes))


@dataclass(frozen=True, eq=False)
class _Attempt:
    """One way to call torch.export; it has not been tried yet."""

    name: str
    example: Example
    dynamic_shapes: Any
    mode: Mode = "non-strict"
    any_batch: bool = False


_Done = tuple[_Attempt, ExportedProgram, fx.GraphModule]
_Failures = dict[_Attempt, Exception]


def _first_that_succeeds(
    model: nn.Module, copy: nn.Module, attempts: Sequence[_Attempt]
) -> tuple[_Done | None, _Failures]:
    """Return the first capture that succeeds, if any, and the failures before it."""
    failures: _Failures = {}
    for attempt in attempts:
        try:
            with preserved(model):
                return (attempt, *_export(copy, attempt)), failures
        except UnsupportedModelError:
            raise
        except Exception as failure:
            failures[attempt] = failure
    return None, failures


def _refusal(
    model: nn.Module, copy: nn.Module, example: Example, dynamic_shapes: Any, failures: _Failures
) -> CaptureError:
    """Return the error that says why no capture succeeded, and what to do about it.

    Where dynamic shapes were given, torch's own words are kept: they say which size cannot vary
    and what to write instead. Whether the shapes are the reason is tried out.
    """
    name = type(model).__name__
    if dynamic_shapes is None:
        said = "; ".join(f"{tried.name}: {first_line(why)}" for tried, why in failures.items())
        remedy = "capture a submodule, or give example inputs that its forward accepts"
        return CaptureError(f"{name}: torch.export cannot capture it ({said}); {remedy}")
    told = {reason_of(why).partition(": ")[2]: reason_of(why) for why in failures.values()}
    words = " / ".join(told.values())
    fixed = [tried for tried in _capture_attempts(copy, example, None) if not tried.dynamic_shapes]
    done, others = _first_that_succeeds(model, copy, fixed)
    if done is not None:
        return CaptureError(
            f"{name}: torch.export cannot capture it with the given dynamic_shapes ({words}); "
            "change them as torch says, or leave them out: then the batch size varies if it can"
        )
    said = "; ".join(f"{tried.name}: {first_line(why)}" for tried, why in others.items())
    return CaptureError(
        f"{name}: torch.export cannot capture it, neither with the given dynamic_shapes ({words}) "
        f"nor without ({said}); capture a submodule, or leave them out to fold its parts"
    )


def _capture_attempts(
    model: nn.Module, example: Example, dynamic_shapes: Any
) -> Iterator[_Attempt]:
    """Yield how a capture may be tried, the most general first."""
    if dynamic_shapes is not None:
        if any(leaf == BATCH for leaf in pytree.tree_leaves(dynamic_shapes)):
            example = _doubled(example)
        yield _Attempt("the given dynamic shapes", example, dynamic_shapes)
        yield _Attempt("strict mode", example, dynamic_shapes, mode="strict")
        return
    if example.batch:
        wide = _doubled(example)
        shapes = _dynamic_batch(model, wide)
        yield _Attempt("a dynamic batch size", wide, shapes, any_batch=True)
    yield _Attempt("a fixed batch size", example, None)
    if example.batch:  # of use where the other mode fails for another reason than the batch size
        name = "a dynamic batch size and strict mode"
        yield _Attempt(name, wide, shapes, mode="strict", any_batch=True)
    yield _Attempt("a fixed batch size and strict mode", example, None, mode="strict")


def _doubled(example: Example) -> Example:
    """Repeat a single sample: torch.export takes sizes 0 and 1 for constants."""
    if example.batch != 1:
        return example
    return example.map(lambda t: torch.cat([t, t]) if example.is_batched(t) else t)


def _dynamic_batch(model: nn.Module, example: Example) -> Any:
    def axes(leaf: object) -> dict[int, Any] | None:
        return {0: Dim.DYNAMIC} if isinstance(leaf, Tensor) and example.is_batched(leaf) else None

    return example.shapes(axes, model)


def eval_copy(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode whose fixed norms are plain batch norm.

    A norm that is in training mode inside an eval model stays so.

    Raises:
        CaptureError: the model cannot be copied.
    """
    try:
        copy = copy_model(model)
    except UnsupportedModelError as failure:
        raise CaptureError(str(failure)) from failure
    if model.training:
        copy.eval()
    return replace_by_plain_batch_norm(copy)


def _export(copy: nn.Module, attempt: _Attempt) -> tuple[ExportedProgram, fx.GraphModule]:
    # Clones, because torch.export marks dynamic axes on the very tensors that it is given, and
    # the mark outlives a failed attempt.
    example = attempt.example.map(Tensor.clone)
    with torch.no_grad(), preserved_random_state(), quiet():
        program = export(
            copy,
            example.args,
            example.kwargs,
            dynamic_shapes=pytree.tree_map_only(
                str, lambda name: Dim.DYNAMIC, attempt.dynamic_shapes
            ),
            strict=attempt.mode == "strict",
        )
        if attempt.any_batch:
            SizeLimits.of(program).require_any_batch(copy, example)
        module = functional_module(program, _gathered(copy))
        if larger := tuple(larger_than_one(copy, module, program)):
            add_guards(program, larger)
            if attempt.any_batch:
                raise CaptureError(f"the model computes other things unless {in_words(larger[0])}")
            module = functional_module(program, _gathered(copy))
    normalize_batch_norms(module)
    module.training = False  # it was captured so; torch leaves the flag at its default
    return program, module


def _gathered(model: nn.Module) -> str | None:
    """Return the parameter of a forward that takes all keyword inputs, as `**batch` does."""
    parameters = inspect.signature(model.forward).parameters.values()
    return next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)

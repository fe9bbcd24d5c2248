"""`capture`: the eval model as an fx graph of ATen operators, by torch.export, on a copy."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.utils import _pytree as pytree

from bnconvert.errors import CaptureError, UnsupportedModelError
from bnconvert.graphs.aten import normalize_batch_norms
from bnconvert.graphs.capture.capture_attempts import (
    Attempt,
    are_fixed,
    attempts_for,
    attempts_for_part,
    is_hopeless,
    probe_of,
)
from bnconvert.graphs.capture.capture_refusals import refusal_of_fixed_sizes, refusal_of_shapes
from bnconvert.graphs.capture.frame_room import with_room
from bnconvert.graphs.capture.functionalizing import functional_module
from bnconvert.graphs.capture.single_sizes import larger_than_one
from bnconvert.graphs.capture.size_limits import SizeLimits
from bnconvert.graphs.capture.state import ForwardWatch, require_no_state
from bnconvert.graphs.capture.torch_words import fixed_axes, short_reason_of
from bnconvert.graphs.example import Example
from bnconvert.graphs.given_shapes import require_axes
from bnconvert.graphs.subgraphs import switches_autocast_off
from bnconvert.modules.copies.copying import copy_model
from bnconvert.modules.copies.parameter_copies import copy_viewing_parameters
from bnconvert.modules.copies.preserving import preserved
from bnconvert.modules.surgery import replace_by_plain_batch_norm
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.torch_private.one_at_a_time import one_at_a_time
from bnconvert.torch_private.silence import quiet
from bnconvert.torch_private.size_guards import add_guards, in_words

_OTHER_AXIS = "; where another axis is the batch, name it in dynamic_shapes"


@dataclass(frozen=True, eq=False)
class Captured:
    """A captured model; whoever rewrites its graph does so on a copy.

    Attributes:
        module: the graph of functional ATen operators; its weights are copies of its own, unless
            it was captured for a file.
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
@with_room
def capture(
    model: nn.Module,
    example: Example,
    dynamic_shapes: Any = None,
    *,
    watch: ForwardWatch | None = None,
    for_file: bool = False,
) -> Captured:
    """Capture the eval model as a functional graph of ATen operators.

    The model is deep-copied first, because a captured module shares its Parameters; norms that
    are batch norm in eval (frozen ones too) become plain batch norm in the copy. A model in
    training mode is captured in eval mode; a norm that is in training mode inside an eval model
    is captured as what it is.

    Args:
        model: an eager module.
        example: its inputs.
        dynamic_shapes: as for torch.export, where a name in place of a Dim says that the axis may
            have any size; by default the batch size may vary, falling back to fixed shapes and
            then to strict capture of both.
        watch: as for `why_stateful`.
        for_file: whether it is read only while the model is not changed: its weights are not
            copied.

    Raises:
        CaptureError: torch.export fails every way, which says whether the given shapes are why;
            or the forward changes state.
        UnsupportedModelError: the copy runs modules of the model itself.
    """
    copying = copy_viewing_parameters if for_file else copy_model
    require_axes(model, example, dynamic_shapes)
    asks, copy = require_no_state(model, example, watch), eval_copy(model, copying)
    attempts, failures = [*attempts_for(model, example, dynamic_shapes)], dict[Attempt, Exception]()
    if asks and (probe := probe_of(attempts[0])):
        next(_captures(model, copy, [probe], failures), None)
        if not is_hopeless(attempts[0], failures):
            failures.clear()  # it says nothing of the others
    captured = next(_captures(model, copy, attempts, failures), None)
    if captured is None:
        raise _refusal(model, copy, example, dynamic_shapes, failures)
    return captured


@one_at_a_time()
@with_room
def capture_part(
    module: nn.Module, example: Example, agrees: Callable[[Captured], bool], any_size: bool = True
) -> Captured | None:
    """Capture a part of a model that takes what the model around it gives it.

    Args:
        module: the part.
        example: what it gets at its first call.
        agrees: tells whether a capture will do in place of the part.
        any_size: whether it may get inputs of other sizes; else one of these is enough.

    Returns:
        The first capture that agrees, with all sizes dynamic if that can be; None for none.

    Raises:
        CaptureError: its forward changes state, or it cannot be copied.
    """
    require_no_state(module, example)
    copy = eval_copy(module)
    attempts = attempts_for_part(module, example, any_size=any_size)
    found = _captures(module, copy, attempts, {})
    return next((captured for captured in found if agrees(captured)), None)


def _captures(
    model: nn.Module,
    copy: nn.Module,
    attempts: Iterable[Attempt],
    failures: dict[Attempt, Exception],
) -> Iterator[Captured]:
    """Yield every capture that succeeds, and note the failures of the others."""
    for attempt in attempts:
        if is_hopeless(attempt, failures):
            continue
        try:
            with preserved(model):
                program, module = _export(copy, attempt)
        except UnsupportedModelError:
            raise
        except Exception as failure:
            failures[attempt] = failure
        else:
            limits = SizeLimits.of(program)
            notes = tuple(_notes(model, attempt, program, limits, failures))
            ranges, shapes = program.range_constraints, attempt.dynamic_shapes
            yield Captured(module, attempt.example, shapes, ranges, limits, notes)


def _notes(
    model: nn.Module,
    attempt: Attempt,
    program: ExportedProgram,
    limits: SizeLimits,
    failures: Mapping[Attempt, Exception],
) -> Iterator[str]:
    """Yield what was done otherwise than asked, with the reason."""
    if failures:
        said = (f"{tried.name}: {short_reason_of(why)}" for tried, why in failures.items())
        other = _OTHER_AXIS if any(map(fixed_axes, failures.values())) else ""
        yield f"captured with {attempt.name}, because {'; '.join(said)}{other}"
    if switches_autocast_off(program.graph_module):
        yield "its forward switches autocast off: run what is captured without autocast"
    if limits.conditions:
        yield f"the graph is what the model computes where {limits}"


def _refusal(
    model: nn.Module,
    copy: nn.Module,
    example: Example,
    dynamic_shapes: Any,
    failures: Mapping[Attempt, Exception],
) -> CaptureError:
    """Return the error that says why no capture succeeded; try out whether the shapes are why."""
    if are_fixed(dynamic_shapes):
        return refusal_of_fixed_sizes(model, failures)
    fixed = [tried for tried in attempts_for(copy, example, None) if not tried.dynamic_shapes]
    others: dict[Attempt, Exception] = {}
    captured = next(_captures(model, copy, fixed, others), None) is not None
    return refusal_of_shapes(model, failures, None if captured else others)


def eval_copy(
    model: nn.Module, copying: Callable[[nn.Module], nn.Module] = copy_model
) -> nn.Module:
    """Return a copy in eval mode whose fixed norms are plain batch norm.

    A norm that is in training mode inside an eval model stays so.

    Args:
        model: looked at only.
        copying: returns a copy of it.

    Raises:
        CaptureError: the model cannot be copied.
    """
    try:
        copy = copying(model)
    except UnsupportedModelError as failure:
        raise CaptureError(str(failure)) from failure
    if model.training:
        copy.eval()
    return replace_by_plain_batch_norm(copy)


def _export(copy: nn.Module, attempt: Attempt) -> tuple[ExportedProgram, fx.GraphModule]:
    # Clones, because torch.export marks dynamic axes on the very tensors that it is given, and
    # the mark outlives a failed attempt.
    example = attempt.example.map(Tensor.clone)
    shapes = pytree.tree_map_only(str, lambda name: Dim.DYNAMIC, attempt.dynamic_shapes)
    with torch.no_grad(), preserved_random_state(), quiet():
        program = export(
            copy,
            example.args,
            example.kwargs,
            dynamic_shapes=shapes,
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

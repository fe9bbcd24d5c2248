"""`capture`: the eval model as an fx graph of ATen operators, by torch.export, on a copy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export

from bnconvert.errors import CaptureError, UnsupportedModelError, first_line
from bnconvert.graphs.aten import normalize_batch_norms
from bnconvert.graphs.example import Example
from bnconvert.graphs.functionalizing import functional_module
from bnconvert.graphs.subgraphs import switches_autocast_off
from bnconvert.modules.copying import copy_model
from bnconvert.modules.preserving import preserved
from bnconvert.modules.surgery import replace_by_plain_batch_norm
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.torch_private.silence import quiet

Mode = Literal["non-strict", "strict"]


@dataclass(frozen=True, eq=False)
class Captured:
    """A captured model; whoever rewrites its graph does so on a copy.

    Attributes:
        module: the graph of functional ATen operators; its weights are copies of its own.
        example: the inputs that it was captured with; a single sample is doubled.
        dynamic_shapes: what may vary, as torch.export takes it; None for nothing.
        range_constraints: what symbolic sizes may be, as torch.export found it.
        notes: what had to be done otherwise than asked, with the reason.
    """

    module: fx.GraphModule
    example: Example
    dynamic_shapes: Any
    range_constraints: Mapping[Any, Any]
    notes: tuple[str, ...]


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
    training mode is captured in eval mode, and the notes say so; a norm that is in training
    mode inside an eval model is captured as what it is.

    Args:
        model: an eager module.
        example: its inputs.
        dynamic_shapes: as for torch.export; by default the batch size may vary, falling back to
            fixed shapes and then to strict capture.
        modes: torch.export's modes to try.

    Raises:
        CaptureError: torch.export fails every way.
        UnsupportedModelError: the copy runs modules of the model itself.
    """
    notes: list[str] = []
    copy = eval_copy(model)
    if model.training:
        notes.append("the model was in training mode; its eval mode was captured")
    failures: list[str] = []
    for attempt in _capture_attempts(model, example, dynamic_shapes):
        if attempt.mode not in modes:
            continue
        try:
            with preserved(model):
                program, module = _export(copy, attempt)
        except UnsupportedModelError:
            raise
        except Exception as failure:
            failures.append(f"{attempt.name}: {first_line(failure)}")
            continue
        if failures:
            notes.append(f"captured with {attempt.name}, because {'; '.join(failures)}")
        if switches_autocast_off(program.graph_module):
            notes.append("its forward switches autocast off: run what is captured without autocast")
        ranges = program.range_constraints
        return Captured(module, attempt.example, attempt.dynamic_shapes, ranges, tuple(notes))
    raise CaptureError(
        f"{type(model).__name__}: torch.export cannot capture it ({'; '.join(failures)}); "
        "capture a submodule, or give example inputs that its forward accepts"
    )


@dataclass(frozen=True, eq=False)
class _Attempt:
    """One way to call torch.export; it has not been tried yet."""

    name: str
    example: Example
    dynamic_shapes: Any
    mode: Mode = "non-strict"


def _capture_attempts(
    model: nn.Module, example: Example, dynamic_shapes: Any
) -> Iterator[_Attempt]:
    """Yield how a capture may be tried, the most general first."""
    if dynamic_shapes is not None:
        yield _Attempt("the given dynamic shapes", example, dynamic_shapes)
        yield _Attempt("strict mode", example, dynamic_shapes, mode="strict")
        return
    if example.batch:
        wide = _doubled(example)
        yield _Attempt("a dynamic batch size", wide, _dynamic_batch(model, wide))
    yield _Attempt("a fixed batch size", example, None)
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
            dynamic_shapes=attempt.dynamic_shapes,
            strict=attempt.mode == "strict",
        )
        module = functional_module(program)
    normalize_batch_norms(module)
    module.training = False  # it was captured so; torch leaves the flag at its default
    return program, module

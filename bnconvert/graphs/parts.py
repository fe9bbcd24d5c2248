"""The largest parts of a model that can be captured, where the whole cannot be."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.errors import CaptureError, first_line
from bnconvert.graphs.capturing import Captured, capture, capture_part, eval_copy
from bnconvert.graphs.example import Example
from bnconvert.modules.copying import copy_model
from bnconvert.modules.kinds import norms_in
from bnconvert.modules.surgery import swap
from bnconvert.numerics.random_state import preserved_random_state

_CALLS, _MOST_CALLS = 4, 8  # calls to compare, and those together with calls of other sizes


@dataclass(frozen=True, eq=False)
class Part:
    """A submodule that was captured, or the whole model.

    Attributes:
        path: where it is; "" for the model.
        captured: its graph, with the inputs that it got in the model.
    """

    path: str
    captured: Captured


def capture_parts(
    model: nn.Module, example: Example, dynamic_shapes: Any = None, *, any_size: bool = True
) -> tuple[list[Part], list[str]]:
    """Capture the eval model whole, or else its largest submodules with norms that can be.

    The inputs of each are observed on one forward of a copy. A part is captured with all sizes
    dynamic where it can be, so that it takes what the model gives it at other image sizes.

    Args:
        model: an eager module.
        example: its inputs.
        dynamic_shapes: as for `capture`.
        any_size: whether parts will get inputs of other sizes than in that forward.

    Returns:
        The parts, of which the path is "" where it is the model, and what to know of them.

    Raises:
        CaptureError: neither the model nor any part of it with norms can be captured, or the
            model does not run on the inputs, or dynamic shapes are given and it is not captured
            whole.
    """
    try:
        return [Part("", capture(model, example, dynamic_shapes))], []
    except CaptureError as failure:
        if dynamic_shapes is not None:
            raise  # they are of the whole model's inputs, and say how it was meant to be captured
        copy = eval_copy(model)
        above = _paths_above_norms(copy)
        observed = _observe(copy, above, example)
        parts = list(_parts(copy, "", observed, above, any_size))
        if not parts:
            raise
        return parts, [f"folded by parts ({', '.join(p.path for p in parts)}): {failure}"]


def with_parts(model: nn.Module, folded: Mapping[str, nn.Module]) -> nn.Module:
    """Return a copy of the model, in eval mode, with folded modules at their paths.

    Plain attributes of a replaced module (numbers, strings, lists of them) go over to its
    successor, because the model around it may read them.
    """
    if "" in folded:
        return folded[""]
    for path, module in folded.items():
        for name, value in vars(model.get_submodule(path)).items():
            if not name.startswith("_") and name not in vars(module) and _is_plain(value):
                setattr(module, name, value)
    copy = copy_model(model)
    if model.training:
        copy.eval()
    return swap(copy, folded)


def _is_plain(value: object) -> bool:
    return all(
        leaf is None or isinstance(leaf, bool | int | float | str)
        for leaf in pytree.tree_leaves(value)
    )


def _paths_above_norms(model: nn.Module) -> set[str]:
    """Return the path of every submodule that holds a norm, or is one."""
    found: set[str] = set()
    for path, _, _ in norms_in(model, remove_duplicate=False):
        names = path.split(".")
        found.update(".".join(names[:count]) for count in range(1, len(names) + 1))
    return found


def _observe(copy: nn.Module, paths: Collection[str], example: Example) -> dict[str, list[Example]]:
    """Return the inputs of the first calls of the submodules at `paths`, and of other sizes."""
    observed: dict[str, list[Example]] = {}
    handles = []

    def watch(path: str, module: nn.Module) -> None:
        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen, call = observed.setdefault(path, []), Example(args, dict(kwargs))
            if len(seen) < _CALLS or (
                len(seen) < _MOST_CALLS and _sizes(call) not in map(_sizes, seen)
            ):
                seen.append(call.map(Tensor.clone))

        handles.append(module.register_forward_pre_hook(note, with_kwargs=True))

    for path, module in copy.named_modules():
        if path in paths:
            watch(path, module)
    try:
        with torch.no_grad(), preserved_random_state():
            copied = example.map(Tensor.clone)
            copy(*copied.args, **copied.kwargs)
    except Exception as failure:
        raise CaptureError(
            f"{type(copy).__name__}: does not run on the example inputs ({first_line(failure)}); "
            "give inputs that its forward accepts"
        ) from failure
    finally:
        for handle in handles:
            handle.remove()
    return observed


def _sizes(call: Example) -> list[torch.Size]:
    return [tensor.shape for tensor in call.tensors()]


def _parts(
    module: nn.Module,
    path: str,
    observed: dict[str, list[Example]],
    above: Collection[str],
    any_size: bool,
) -> Iterator[Part]:
    for name, child in module.named_children():
        below = f"{path}.{name}".lstrip(".")
        if below not in above:
            continue
        calls = observed.get(below, [])
        part = _capture_part(child, below, calls, any_size) if calls else None
        if part is not None:
            yield part
        else:
            yield from _parts(child, below, observed, above, any_size)


def _capture_part(
    module: nn.Module, path: str, calls: list[Example], any_size: bool
) -> Part | None:
    """Capture a submodule, if possible with dynamic sizes; None where no capture agrees with it."""
    any_size = any_size or any(_sizes(call) != _sizes(calls[0]) for call in calls)
    try:
        captured = capture_part(
            module,
            calls[0],
            lambda c: all(_agrees(module, c, x) for x in calls),
            any_size,
        )
    except CaptureError:
        return None
    if captured is None:
        return None
    _name_from_the_root(captured, path)
    return Part(path, captured)


def _agrees(module: nn.Module, captured: Captured, call: Example) -> bool:
    """Tell whether a captured part computes on `call` what the part itself does."""
    try:
        with torch.no_grad():
            expected = module(*call.args, **call.kwargs)
            actual = captured.module(*call.args, **call.kwargs)
    except Exception:
        return False  # a size that it was not captured for
    leaves = zip(pytree.tree_leaves(expected), pytree.tree_leaves(actual), strict=True)
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in leaves)


def _name_from_the_root(captured: Captured, path: str) -> None:
    """Let every operator say from where in the whole model it is called."""
    for node in captured.module.graph.nodes if path else ():
        stack = node.meta.get("nn_module_stack")
        if stack:
            node.meta["nn_module_stack"] = {
                key: (f"{path}.{where}".rstrip("."), kind) for key, (where, kind) in stack.items()
            }

"""The largest parts of a model that can be captured, where the whole cannot be."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.errors import CaptureError, first_line
from bnconvert.graphs.aten import PART
from bnconvert.graphs.capture.capturing import Captured, capture, capture_part, eval_copy
from bnconvert.graphs.capture.state import ForwardWatch
from bnconvert.graphs.capture.traceability import agrees, constant_size, with_longer
from bnconvert.graphs.example import Example
from bnconvert.modules.copies.copying import copy_model
from bnconvert.modules.kinds import norms_in
from bnconvert.modules.surgery import swap
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.torch_private.data_dependence import Noticing, decides_size

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
    model: nn.Module,
    example: Example,
    dynamic_shapes: Any = None,
    *,
    any_size: bool = True,
    watch: ForwardWatch | None = None,
) -> tuple[list[Part], list[str]]:
    """Capture the eval model whole, or else its largest submodules with norms that can be.

    The inputs of each are observed on one forward of a copy. A part is captured with all sizes
    dynamic where it can be, so that it takes what the model gives it at other image sizes.

    For a file that is traced, a part has the sizes that it gets in that forward, unless an
    operator before it made a size of values (the number of boxes): then it is captured with all
    sizes dynamic, and only where its graph neither computes with a size nor fixes one, because
    the tracer would hold that as a constant.

    Args:
        model: an eager module.
        example: its inputs.
        dynamic_shapes: as for `capture`.
        any_size: whether parts will get inputs of other sizes than in that forward; else they
            are for a file that is traced, and what is captured whole is captured for one.
        watch: as for `why_stateful`, of the whole model.

    Returns:
        The parts, of which the path is "" where it is the model, and what to know of them.

    Raises:
        CaptureError: neither the model nor any part of it with norms can be captured, or the
            model does not run on the inputs, or dynamic shapes are given and it is not captured
            whole.
    """
    try:
        for_file = not any_size
        whole = capture(model, example, dynamic_shapes, watch=watch, for_file=for_file)
        return [Part("", whole)], []
    except CaptureError as failure:
        if dynamic_shapes is not None:
            raise  # they are of the whole model's inputs, and say how it was meant to be captured
        copy = eval_copy(model)
        above = _paths_above_norms(copy)
        search = _Search(_observe(copy, above, example), above, any_size, {})
        parts = list(search.parts(copy, ""))
        left = [f"{path} is not folded as a whole: {why}" for path, why in search.left.items()]
        if not parts:
            if left:
                raise CaptureError("; ".join((str(failure), *left))) from failure
            raise
        return parts, [f"folded by parts ({', '.join(p.path for p in parts)}): {failure}", *left]


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


@dataclass
class _Calls:
    """What a submodule gets in a forward.

    Attributes:
        inputs: those of its first calls, and of some of other sizes.
        any_size: whether an operator before one of its calls made a size of values.
    """

    inputs: list[Example] = field(default_factory=list)
    any_size: bool = False

    def note(self, call: Example, *, any_size: bool) -> None:
        """Note one call."""
        self.any_size |= any_size
        seen = self.inputs
        if len(seen) < _CALLS or (
            len(seen) < _MOST_CALLS and _sizes(call) not in map(_sizes, seen)
        ):
            seen.append(call.map(Tensor.clone))


def _observe(copy: nn.Module, paths: Collection[str], example: Example) -> dict[str, _Calls]:
    """Return the calls of the submodules at `paths`."""
    observed: dict[str, _Calls] = {}
    handles = []
    decided = Noticing(decides_size)

    def watch(path: str, module: nn.Module) -> None:
        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls = observed.setdefault(path, _Calls())
            calls.note(Example(args, dict(kwargs)), any_size=decided.seen)

        handles.append(module.register_forward_pre_hook(note, with_kwargs=True))

    for path, module in copy.named_modules():
        if path in paths:
            watch(path, module)
    try:
        with torch.no_grad(), preserved_random_state():
            copied = example.map(Tensor.clone)
            with decided:
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


@dataclass
class _Search:
    """A search for the largest submodules that can be captured.

    Attributes:
        observed: the calls of submodules.
        above: the paths of those with norms.
        any_size: as for `capture_parts`.
        left: why submodules that can be captured are not taken.
    """

    observed: Mapping[str, _Calls]
    above: Collection[str]
    any_size: bool
    left: dict[str, str]

    def parts(self, module: nn.Module, path: str) -> Iterator[Part]:
        """Yield them, below a module."""
        for name, child in module.named_children():
            below = f"{path}.{name}".lstrip(".")
            if below not in self.above:
                continue
            calls = self.observed.get(below)
            part = self._part(child, below, calls) if calls else None
            if part is not None:
                self.left.pop(below, None)
                yield part
            else:
                yield from self.parts(child, below)

    def _part(self, module: nn.Module, path: str, calls: _Calls) -> Part | None:
        """Capture a submodule, if possible with dynamic sizes; None where no capture serves."""
        inputs = calls.inputs
        any_size = self.any_size or calls.any_size
        any_size = any_size or any(_sizes(call) != _sizes(inputs[0]) for call in inputs)

        def serves(captured: Captured) -> bool:
            if not all(agrees(module, captured, call) for call in inputs):
                return False
            if self.any_size:
                return True
            why = constant_size(module, captured, is_given=calls.any_size)
            if why:
                self.left.setdefault(path, why)
            return not why

        retries = calls.any_size and not self.any_size
        for example in (inputs[0], *(with_longer(module, inputs[0]) if retries else ())):
            with contextlib.suppress(CaptureError):
                if captured := capture_part(module, example, serves, any_size):
                    _name_from_the_root(captured, path)
                    return Part(path, captured)
        return None


def _name_from_the_root(captured: Captured, path: str) -> None:
    """Let every operator say from where in the whole model it is called, and in which part."""
    for node in captured.module.graph.nodes if path else ():
        node.meta[PART] = path
        stack = node.meta.get("nn_module_stack")
        if stack:
            node.meta["nn_module_stack"] = {
                key: (f"{path}.{where}".rstrip("."), kind) for key, (where, kind) in stack.items()
            }

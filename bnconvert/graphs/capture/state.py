"""State that an eval forward changes, and that no graph can keep: it would be a constant there."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.errors import CaptureError, Refusal
from bnconvert.graphs.example import Example
from bnconvert.modules.copies.copying import copy_sharing_parameters
from bnconvert.modules.copies.preserving import preserved
from bnconvert.modules.kinds import norms_in
from bnconvert.modules.tracing.unregistered import unregistered_norms
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.torch_private.data_dependence import Noticing, asks_for_numbers
from bnconvert.torch_private.module_state import is_own_table
from bnconvert.torch_private.tensor_versions import version_of

#: Given a copy of a model, what is entered for the time of its first forward.
ForwardWatch = Callable[[nn.Module], AbstractContextManager[object]]


def why_stateful(
    model: nn.Module, example: Example, watch: ForwardWatch | None = None
) -> Refusal | None:
    """Refuse a model whose eval forward changes a buffer, or what its own next output depends on.

    Observers, counters, streaming caches and codebooks do. The norms are not asked: what they
    keep is reported as theirs. A forward that fails tells nothing here.

    Args:
        model: looked at only.
        example: its inputs.
        watch: entered for the time of one forward, to see what that does; where it fails there,
            it runs once more without.
    """
    try:
        with preserved(model):  # where a copy leads to it, the capture says so
            changed = _changed(model, example, watch)
    except Exception:  # whatever the user's model raises: the capture says what
        return None
    if not changed:
        return None
    fact = (
        f"{', '.join(changed)}: the eval forward changes it, which in a graph would be a constant"
    )
    remedy = (
        "change it in training mode only (if self.training), or fold and export the submodules "
        "that do without it"
    )
    if not model.training and _is_of_training(model, example, changed):
        fact += ", because its module is in training mode inside an eval model"
        remedy = "call model.eval()"
    return Refusal("changes-state", fact, remedy)


def require_no_state(model: nn.Module, example: Example, watch: ForwardWatch | None = None) -> bool:
    """Raise where `why_stateful` refuses; tell whether the forward asks for numbers of tensors.

    Raises:
        CaptureError: an eval forward changes state.
    """
    asked = Noticing(asks_for_numbers)

    @contextmanager
    def watched(copy: nn.Module) -> Iterator[None]:
        with asked, watch(copy) if watch else nullcontext():
            yield

    if refusal := why_stateful(model, example, watched):
        raise CaptureError(str(refusal))
    return asked.seen


def _is_of_training(model: nn.Module, example: Example, changed: list[str]) -> bool:
    """Tell whether it changes only because modules are in training mode inside an eval model."""
    if not all(_is_in_training(model, name) for name in changed):
        return False
    try:
        with preserved(model):
            return not _changed(copy_sharing_parameters(model).eval(), example, None)
    except Exception:  # whatever the user's model raises in eval mode: so that is no remedy
        return False


def _is_in_training(model: nn.Module, name: str) -> bool:
    """Tell whether the module of a buffer is in training mode, an instance norm for example."""
    path = name.rpartition(".")[0]
    return any(module.training for place, module in model.named_modules() if place == path)


def _changed(model: nn.Module, example: Example, watch: ForwardWatch | None) -> list[str]:
    """Return the names of the buffers and attributes that a forward of a copy changes."""
    copy = _eval_copy(model)
    before = {name: tensor.clone() for name, tensor in _buffers(copy)}
    in_norms = {n: b.clone() for n, b in copy.named_buffers() if n not in before}
    attributes = _attributes(copy)
    first = _watched_run(copy, example, watch)
    after = dict(_buffers(copy))
    changed = [name for name, old in before.items() if not _is_same(old, after.get(name))]
    if changed or _agree(first, _run(copy, example)):
        return changed
    if not _agree(first, _run(_eval_copy(model), example)):
        return []  # it is random
    after, moved = dict(copy.named_buffers()), _attributes(copy)
    changed = [n for n, old in in_norms.items() if not _is_same(old, after.get(n))]
    changed += [name for name, value in attributes.items() if moved.get(name) != value]
    return changed or ["(an attribute)"]


def _watched_run(copy: nn.Module, example: Example, watch: ForwardWatch | None) -> list[Any]:
    """Run a copy while it is watched; or as it is, where it does not run so."""
    if watch is None:
        return _run(copy, example)
    try:
        with watch(copy):
            return _run(copy, example)
    except Exception:
        return _run(copy, example)


def _eval_copy(model: nn.Module) -> nn.Module:
    copy = copy_sharing_parameters(model)
    return copy.eval() if model.training else copy


def _run(copy: nn.Module, example: Example) -> list[Any]:
    """Return the leaves of a copy's output."""
    given = example.map(Tensor.clone)
    with torch.no_grad(), preserved_random_state():
        leaves = pytree.tree_leaves(copy(*given.args, **given.kwargs))
    return [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]


def _buffers(copy: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the buffers with their names, but for those of norms that are modules of the model."""
    norms = {id(norm) for _, norm, kind in norms_in(copy) if not kind.is_other_class}
    inside = {id(inner) for norm in copy.modules() if id(norm) in norms for inner in norm.modules()}
    for path, module in copy.named_modules():
        if id(module) not in inside:
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    yield f"{path}.{name}".lstrip("."), buffer
    for _, place, norm, _ in unregistered_norms(copy):
        yield from ((f"{place}.{name}", buffer) for name, buffer in norm.named_buffers())


def _attributes(copy: nn.Module) -> dict[str, object]:
    """Return the plain attributes in a form that can be compared."""
    return {
        f"{path}.{name}".lstrip("."): _comparable(value)
        for path, module in copy.named_modules()
        for name, value in vars(module).items()
        if not is_own_table(name)
    }


def _comparable(value: object) -> object:
    """Return numbers as they are, tensors with their version, anything else by identity."""
    plain = bool | int | float | str | None
    return [x if isinstance(x, plain) else _Itself(x) for x in pytree.tree_leaves(value)]


class _Itself:
    """An object that equals itself alone; it is held, so that no later one gets its identity."""

    def __init__(self, held: object) -> None:
        self.held, self.version = held, version_of(held) if isinstance(held, Tensor) else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Itself):
            return False
        return other.held is self.held and other.version == self.version


def _agree(first: list[Any], second: list[Any]) -> bool:
    """Tell whether two outputs are the same, up to what an inexact kernel may change."""
    return len(first) == len(second) and all(map(_is_close, first, second))


def _is_close(a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor):
        return not isinstance(a, bool | int | float) or bool(a == b)
    if _is_same(a, b) or not (isinstance(b, Tensor) and a.shape == b.shape):
        return isinstance(b, Tensor) and a.shape == b.shape
    if not a.is_floating_point():
        return False
    size = float(a.abs().nan_to_num().max())
    return torch.allclose(a, b, rtol=1e-3, atol=1e-5 * size, equal_nan=True)


def _is_same(a: Tensor, b: object) -> bool:
    """Tell whether two tensors hold the same numbers; NaN is the same as NaN."""
    if not isinstance(b, Tensor) or a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())

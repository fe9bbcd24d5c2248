import functools
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnconvert.conversion.conversion import convert, revert
from bnconvert.conversion.policy import Policy
from bnconvert.errors import RefusedError
from bnconvert.modules.tracing.hidden_references import hidden_references
from bnconvert.norms.frozen import Frozen
from bnconvert.norms.group import Group
from bnconvert.norms.keep import Keep
from tests.zoo import Net, trained


def place_of(model: nn.Module, norm: nn.Module) -> str | None:
    found = hidden_references(model, [norm]).get(id(norm))
    return None if found is None else found.place


class Calls(Net):
    """A forward that calls what an attribute holds in the place of its norm."""

    call: Callable[[Tensor], Tensor]

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.conv(x))


class Holder:
    def __init__(self, norm: nn.Module) -> None:
        self.norm = norm

    def __call__(self, x: Tensor) -> Any:
        return self.norm(x)


class SlottedHolder:
    __slots__ = ("norm",)

    def __init__(self, norm: nn.Module) -> None:
        self.norm = norm

    def __call__(self, x: Tensor) -> Any:
        return self.norm(x)


def closure(norm: nn.Module) -> Any:
    return lambda x: norm(x)


def default_argument(norm: nn.Module) -> Any:
    return lambda x, inner=norm: inner(x)


def keyword_default(norm: nn.Module) -> Any:
    def call(x: Tensor, *, inner: nn.Module = norm) -> Any:
        return inner(x)

    return call


def closure_of_a_closure(norm: nn.Module) -> Any:
    inner = closure(norm)
    return lambda x: inner(x)


def decorated(norm: nn.Module) -> Any:
    return functools.wraps(Net.forward)(closure(norm))


def weak_reference(norm: nn.Module) -> Any:
    reference = weakref.ref(norm)
    return lambda x: reference()(x)  # type: ignore[misc]


def weak_method(norm: nn.Module) -> Any:
    method = weakref.WeakMethod(norm.forward)
    return lambda x: method()(x)  # type: ignore[misc]


def weak_set(norm: nn.Module) -> Any:
    held = weakref.WeakSet([norm])
    return lambda x: next(iter(held))(x)


WAYS: dict[str, Callable[[nn.Module], Any]] = {
    "a closure": closure,
    "a default argument": default_argument,
    "a keyword's default": keyword_default,
    "a closure of a closure": closure_of_a_closure,
    "a decorated function": decorated,
    "a partial function": lambda norm: functools.partial(nn.Module.__call__, norm),
    "a bound method": lambda norm: norm.forward,
    "its call": lambda norm: norm.__call__,
    "a cached function": lambda norm: functools.lru_cache(closure(norm)),
    "an object": Holder,
    "an object with slots": SlottedHolder,
    "an object's method": lambda norm: Holder(norm).__call__,
    "a weak reference": weak_reference,
    "a weak proxy": lambda norm: weakref.proxy(norm).forward,
    "a weak set": weak_set,
    "a weak method": weak_method,
}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_conversion_is_refused_where_the_old_norm_would_go_on_to_be_called(
    way: str, inplace: bool
) -> None:
    model = Calls()
    model.call = WAYS[way](model.norm)
    norm = model.norm
    with pytest.raises(RefusedError, match="norm: is also reached through call, which"):
        convert(model, Frozen(), inplace=inplace)
    assert model.norm is norm


def hook_by_closure(model: Net) -> None:
    norm = model.norm
    model.conv.register_forward_hook(lambda _m, _args, y: norm(y))


def hook_before(model: Net) -> None:
    norm = model.norm
    model.conv.register_forward_pre_hook(lambda _m, args: (norm(args[0]),))


def hook_that_is_a_method(model: Net) -> None:
    model.conv.register_forward_hook(functools.partial(lambda norm, _m, _a, y: norm(y), model.norm))


def hook_for_gradients(model: Net) -> None:
    norm = model.norm
    model.conv.register_full_backward_hook(lambda *_: norm.zero_grad())


@pytest.mark.parametrize(
    ("hook", "table"),
    [
        (hook_by_closure, "_forward_hooks"),
        (hook_before, "_forward_pre_hooks"),
        (hook_that_is_a_method, "_forward_hooks"),
        (hook_for_gradients, "_backward_hooks"),
    ],
)
def test_hooks_count_too(hook: Callable[[Net], None], table: str) -> None:
    model = Net()
    hook(model)
    assert place_of(model, model.norm) == f"conv.{table}"
    with pytest.raises(RefusedError, match=f"is also reached through conv.{table}"):
        convert(model, Frozen())


def test_a_forward_of_a_submodule_counts_too() -> None:
    model: Any = nn.Sequential(Net())
    conv, norm = model[0].conv, model[0].norm
    model[0].forward = lambda x: norm(conv(x))
    assert place_of(model, norm) == "0.forward"


NORM = nn.BatchNorm2d(3)


class ReadsGlobal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = NORM

    def forward(self, x: Tensor) -> Any:
        return NORM(x)


class Registers(nn.Module):
    made: list[nn.Module] = []  # noqa: RUF012 (every instance adds to it)

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.made.append(self.norm)

    def forward(self, x: Tensor) -> Any:
        return self.made[-1](x)


@pytest.mark.parametrize(
    ("build", "place"),
    [(ReadsGlobal, "the variable NORM of ReadsGlobal.forward"), (Registers, "Registers.made")],
)
def test_the_code_of_a_class_counts_too(build: Callable[[], nn.Module], place: str) -> None:
    model = build()
    with pytest.raises(RefusedError, match=f"norm: is also .* {place}"):
        convert(model, Frozen(), inplace=True)


def test_what_finds_the_new_norm_is_no_hidden_reference() -> None:
    model = trained(Net())
    model.forward = lambda x: model.norm(model.conv(x))  # type: ignore[method-assign]
    model.conv.register_forward_hook(lambda *_: print(model.norm.eps, end=""))
    x, names = torch.rand(2, 3, 4, 4), {m: name for name, m in model.named_children()}
    assert len(names) > 1
    assert hidden_references(model, [model.norm]) == {}
    frozen: Any = convert(model.train(), Frozen())
    before = frozen.norm.running_mean.clone()
    frozen(x)
    assert torch.equal(frozen.norm.running_mean, before)


def test_the_remedies_work_when_they_are_followed() -> None:
    model = Calls()
    model.call = closure(model.norm)
    convert(model, Policy({"norm": Keep()}))
    model.call = lambda x: model.norm(x)
    assert type(convert(model, Frozen()).norm).__name__ == "FrozenNorm"


def test_a_revert_is_refused_too_and_changes_nothing() -> None:
    model: Any = convert(Calls(), Group(2))
    norm = model.norm
    model.call = closure(norm)
    with pytest.raises(RefusedError, match=r"norm: is also reached through call.*; read the norm"):
        revert(model, inplace=True)
    assert model.norm is norm

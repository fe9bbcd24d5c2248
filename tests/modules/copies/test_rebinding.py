"""Ways in which a module may lead to the model that it is in; a copy must not run that model."""

import functools
import types
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from bnconvert.modules.copies.copying import copy_model, copy_sharing_parameters, replicate
from tests.modules.nested_net import GLOBAL, Holder, Net, X


class Pair(NamedTuple):
    first: Any
    second: Any


def bound(module: nn.Module, forward: Callable[..., Any]) -> None:
    """Set a forward on one object, as `module.forward = MethodType(...)` does."""
    vars(module)["forward"] = types.MethodType(forward, module)


def lambda_in_a_closure(m: Net) -> None:
    run = m.inner.forward
    vars(m.inner)["forward"] = lambda x: run(x)


def global_variable(m: Net) -> None:
    GLOBAL["run"] = m.inner.forward
    vars(m.inner)["forward"] = lambda x: GLOBAL["run"](x)


def nested_function(m: Net) -> None:
    run = m.inner.forward

    def forward(x: Tensor) -> Any:
        def within(y: Tensor) -> Any:
            return run(y)

        return within(x)

    vars(m.inner)["forward"] = forward


def recursive_function(m: Net) -> None:
    run = m.inner.forward

    def forward(x: Tensor, count: int = 2) -> Any:
        return forward(x, count - 1) if count else run(x)

    vars(m.inner)["forward"] = forward


def default_argument(m: Net) -> None:
    vars(m.inner)["forward"] = lambda x, run=m.inner.forward: run(x)


def keyword_default(m: Net) -> None:
    def forward(x: Tensor, *, run: Any = m.inner.forward) -> Any:
        return run(x)

    vars(m.inner)["forward"] = forward


def wrapped_function(m: Net) -> None:
    run = m.inner.forward

    @functools.wraps(run)
    def forward(*inputs: Any) -> Any:
        return run(*inputs)

    vars(m.inner)["forward"] = forward


def partial_function(m: Net) -> None:
    run = m.inner.forward
    vars(m.inner)["forward"] = functools.partial(lambda offset, x: run(x) + offset, 0)


def method_of_a_closure(m: Net) -> None:
    run = m.inner.forward
    bound(m.inner, lambda self, x: run(x))


def cached_function(m: Net) -> None:
    m.outer.run = functools.lru_cache(2)(m.inner.forward)
    bound(m.outer, lambda self, x: self.run(x))


def bound_methods_in_a_list(m: Net) -> None:
    m.outer.steps = [layer.forward for layer in m.inner]
    bound(m.outer, lambda self, x: self.steps[1](self.steps[0](x)))


def lambdas_in_a_dictionary_of_tuples(m: Net) -> None:
    m.outer.steps = {"a": Pair((lambda x: m.inner(x),), 0)}
    bound(m.outer, lambda self, x: self.steps["a"].first[0](x))


def builtin_method(m: Net) -> None:
    layers = {"inner": m.inner}
    m.outer.layer = layers.__getitem__
    m.outer.get = layers.get
    bound(m.outer, lambda self, x: self.get("inner")(self.layer("inner")(x)))


def weak_reference(m: Net) -> None:
    vars(m.outer)["root"] = weakref.ref(m)
    bound(m.outer, lambda self, x: self.root().inner(x))


def weak_proxy(m: Net) -> None:
    vars(m.outer)["root"] = weakref.proxy(m)
    bound(m.outer, lambda self, x: self.root.inner(x))


def weak_method(m: Net) -> None:
    vars(m.outer)["run"] = weakref.WeakMethod(m.inner.forward)
    bound(m.outer, lambda self, x: self.run()(x))


def weak_containers(m: Net) -> None:
    m.outer.weak = (
        weakref.WeakSet([m.inner]),
        weakref.WeakKeyDictionary({m.inner: 1}),
        weakref.WeakValueDictionary({"a": m.inner}),
    )

    def forward(self: Any, x: Tensor) -> Any:
        every, keys, values = self.weak
        return next(iter(every))(next(iter(keys))(values["a"](x)))

    bound(m.outer, forward)


def hook_with_a_partial(m: Net) -> None:
    m.outer.register_forward_hook(
        functools.partial(lambda run, module, inputs, output: run(output), m.inner)
    )


def hook_of_an_object_in_a_closure(m: Net) -> None:
    holder = Holder(m.inner)
    m.outer.register_forward_hook(lambda *call: holder(*call))


def hook_that_keeps_what_another_reads(m: Net) -> None:
    kept: dict[str, Tensor] = {}
    m.inner.register_forward_hook(lambda module, inputs, y: kept.update(y=y))
    m.outer.register_forward_hook(lambda module, inputs, y: m.inner(y + kept["y"]))


def weight_in_a_closure(m: Net) -> None:
    weight = m.get_parameter("inner.0.weight")
    bound(m.outer, lambda self, x: nn.functional.conv1d(x, weight))


WAYS = (
    lambda_in_a_closure, global_variable, nested_function, recursive_function, default_argument,
    keyword_default, wrapped_function, partial_function, method_of_a_closure, cached_function,
    bound_methods_in_a_list, lambdas_in_a_dictionary_of_tuples, builtin_method, weak_reference,
    weak_proxy, weak_method, weak_containers, hook_with_a_partial, hook_of_an_object_in_a_closure,
    hook_that_keeps_what_another_reads, weight_in_a_closure,
)  # fmt: skip

every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


def led_back(way: Callable[[Net], None]) -> Net:
    model = Net().train()
    way(model)
    return model


def calls_of_its_own(model: nn.Module, run: Callable[[], object]) -> list[nn.Module]:
    """Return the modules of a model that are called while a copy of it runs."""
    called: list[nn.Module] = []
    handles = [
        m.register_forward_pre_hook(lambda module, inputs: called.append(module))
        for m in model.modules()
    ]
    run()
    for handle in handles:
        handle.remove()
    return called


@every_way
def test_a_copy_runs_itself_and_trains_itself(way: Callable[[Net], None]) -> None:
    model = led_back(way)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    twin = copy_model(model)
    expected = copy_model(model)(X)
    with torch.no_grad():
        twin.get_parameter("inner.0.weight").mul_(2)
        twin.get_parameter("inner.0.bias").mul_(2)
    assert calls_of_its_own(model, lambda: twin(X).sum().backward()) == []
    assert twin.get_parameter("inner.0.weight").grad is not None
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    torch.testing.assert_close(model(X), expected)


@every_way
@pytest.mark.parametrize("copied", [copy_sharing_parameters, replicate])
def test_other_copies_run_themselves(
    way: Callable[[Net], None], copied: Callable[[nn.Module], nn.Module]
) -> None:
    model = led_back(way)
    twin = copied(model)
    assert calls_of_its_own(model, lambda: twin(X)) == []


def test_variables_that_two_functions_share_stay_shared() -> None:
    model, count = Net(), 0
    inner = model.inner

    def forward(x: Tensor) -> Any:
        nonlocal count
        count += 1
        return inner(x)

    vars(model).update(forward=forward, count=lambda: (count, inner)[0])
    twin: Any = copy_model(model)
    twin(X)
    assert (twin.count(), vars(model)["count"]()) == (1, 1)  # nothing to do with the model


def test_other_globals_of_a_rebound_function_are_read_as_they_are_at_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = led_back(global_variable)
    twin = copy_model(model)
    monkeypatch.setitem(globals(), "functools", None)
    assert twin.inner.forward.__globals__["functools"] is None  # type: ignore[union-attr]

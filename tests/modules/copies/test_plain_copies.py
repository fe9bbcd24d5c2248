import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from bnconvert.modules.copies.plain_copies import copy_plainly
from tests.zoo import Net


def copied(value: Any) -> Any:
    return copy_plainly(value, {}, copy.deepcopy)


class Keyed(nn.Module):
    """Says itself how it is copied, by one of the names that `copy.deepcopy` knows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.made_by = nn.Linear(2, 2), "its constructor"


class WithDeepcopy(Keyed):
    def __deepcopy__(self, memo: dict[int, Any]) -> "WithDeepcopy":
        twin = WithDeepcopy()
        twin.made_by = "its __deepcopy__"
        return twin


class WithState(Keyed):
    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "made_by": "its __getstate__"}


class WithReduce(Keyed):
    def __reduce_ex__(self, protocol: Any) -> Any:
        return WithReduce, (), {**vars(self), "made_by": "its __reduce_ex__"}


class WithSetState(Keyed):
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state | {"made_by": "its __setstate__"})


class Delegating(nn.Module):
    """Hands every unknown name on, `__deepcopy__` too."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = WithDeepcopy()

    def __getattr__(self, name: str) -> Any:
        return getattr(super().__getattr__("inner"), name)


class Dictionary(nn.Module, dict[str, Any]):
    def __init__(self) -> None:
        super().__init__()
        self["made_by"] = [1]


def with_own_method() -> nn.Module:
    module = Keyed()
    vars(module)["__deepcopy__"] = lambda memo: WithDeepcopy().__deepcopy__(memo)
    return module


def described(value: Any, seen: dict[int, int] | None = None) -> Any:
    """Return what a value holds and which parts are one object, without the objects."""
    seen = {} if seen is None else seen
    if value is None or isinstance(value, bool | int | float | str | type):
        return value
    if id(value) in seen:
        return f"object {seen[id(value)]}"
    seen[id(value)] = len(seen)
    if isinstance(value, Tensor):
        layout = () if value.is_sparse else (value.stride(), value.storage_offset())
        return (type(value), value.to_dense().tolist(), layout, value.requires_grad, value.dtype,
                described(value.grad, seen), described(vars(value), seen))  # fmt: skip
    parts: list[Any] = [described(list(vars(value).items()), seen)] if vars_of(value) else []
    if isinstance(value, dict):
        parts += [(key, described(item, seen)) for key, item in value.items()]
    elif isinstance(value, list | tuple | set):
        parts += [described(item, seen) for item in value]
    return type(value), parts


def vars_of(value: Any) -> dict[str, Any]:
    return getattr(value, "__dict__", {})


def with_attribute() -> Tensor:
    tensor = torch.rand(2)
    tensor.tag = [1]  # type: ignore[attr-defined]
    return tensor


def with_gradient() -> Tensor:
    tensor = torch.rand(2, requires_grad=True)
    tensor.grad = torch.ones(2)
    return tensor


TENSORS: dict[str, Callable[[], Tensor]] = {
    "plain": lambda: torch.rand(3, 4),
    "a number": lambda: torch.tensor(3),
    "empty": lambda: torch.rand(0, 4),
    "a slice": lambda: torch.rand(3, 4)[1:],
    "transposed": lambda: torch.rand(3, 4).t(),
    "expanded": lambda: torch.rand(1).expand(5),
    "channels last": lambda: torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
    "conjugate": lambda: torch.rand(2, dtype=torch.complex64).conj(),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "with an attribute": with_attribute,
    "with a gradient": with_gradient,
    "a parameter": lambda: nn.Parameter(torch.rand(3)),
}


@pytest.mark.parametrize("build", TENSORS.values(), ids=TENSORS)
def test_a_tensor_is_copied_as_torch_copies_it(build: Callable[[], Tensor]) -> None:
    tensor = build()
    twin = copied(tensor)
    assert twin is not tensor
    assert described(twin) == described(copy.deepcopy(tensor))


def test_the_copy_of_a_tensor_is_its_own() -> None:
    tensor = torch.rand(2)
    copied(tensor).fill_(7)
    assert not (tensor == 7).any()


@pytest.mark.parametrize(
    "build",
    [
        Net,
        lambda: nn.LSTM(2, 3),
        lambda: nn.TransformerEncoderLayer(4, 2, 8),
        lambda: parametrizations.weight_norm(nn.Linear(2, 2)),
        lambda: nn.ModuleDict({"a": nn.ReLU(), "b": nn.Sequential()}),
        *(WithDeepcopy, WithState, WithReduce, WithSetState, Delegating, Dictionary),
        with_own_method,
    ],
)
def test_a_module_is_copied_as_its_class_says(build: Callable[[], nn.Module]) -> None:
    module = build()
    twins = []
    for copied_by in (copy.deepcopy, copied):
        torch.manual_seed(0)  # a copy may be a new module
        twins.append(copied_by(module))
    assert described(twins[0]) == described(twins[1])


def test_a_lazy_module_is_copied_without_a_first_run() -> None:
    twin = copied(nn.LazyLinear(3))
    assert isinstance(twin.weight, nn.UninitializedParameter)


def test_what_is_one_object_is_one_object_in_the_copy() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    rows: list[Any] = [model[0], {"norm": model[1]}]
    rows.append(rows)
    model.register_buffer("mean", model.get_buffer("1.running_mean"))
    model.rows, model.table = rows, OrderedDict(first=model[0])  # type: ignore[assignment]
    twin = copied(model)
    assert twin.rows[0] is twin[0] is twin.table["first"]
    assert twin.rows[1]["norm"] is twin[1]
    assert twin.rows[2] is twin.rows
    assert twin.mean is twin[1].running_mean


@pytest.mark.parametrize("first", ["whole", "view"])
def test_tensors_in_one_memory_stay_in_one_memory(first: str) -> None:
    whole = torch.arange(6.0)
    both = {"whole": whole, "view": whole[2:4], "again": whole.view(2, 3)}
    order = sorted(both, reverse=first == "whole")
    twins = copied({name: both[name] for name in order})
    twins["whole"].fill_(7)
    assert twins["view"].tolist() == [7, 7]
    assert twins["again"].tolist() == [[7, 7, 7], [7, 7, 7]]
    assert whole.tolist() == [0, 1, 2, 3, 4, 5]


def test_what_torch_compiled_is_left_out() -> None:
    module = Net()
    module._compiled_call_impl = print
    assert vars(copied(module)).get("_compiled_call_impl") is None

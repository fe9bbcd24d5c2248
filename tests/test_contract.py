"""Every norm over every zoo model: what each rewrite promises, on everything awkward."""

import copy
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import bnconvert as bnc
from bnconvert.modules.kinds import kind_of
from bnconvert.modules.normalization import EXTRAS
from bnconvert.modules.rewrite import Rewrite
from bnconvert.norms import NORMS
from bnconvert.norms.adaptive import Adaptive
from bnconvert.norms.frozen import Frozen
from bnconvert.norms.ghost import Ghost
from bnconvert.norms.group import Group
from bnconvert.norms.instance import Instance
from bnconvert.norms.keep import Keep
from bnconvert.norms.renorm import Renorm
from bnconvert.norms.separate import Separate
from bnconvert.norms.sync import Sync
from bnconvert.norms.virtual import Virtual
from tests.zoo import ZOO, ZooModel, build

#: Which choices of each norm the contract is checked for. A norm without an entry fails below.
CHOICES: dict[type[Rewrite], Callable[[tuple[Any, ...]], tuple[Rewrite, ...]]] = {
    Keep: lambda inputs: (Keep(),),
    Frozen: lambda inputs: (Frozen(), Frozen(affine="trainable")),
    Sync: lambda inputs: (Sync(),),
    Ghost: lambda inputs: (Ghost(1),),
    Virtual: lambda inputs: (Virtual(inputs), Virtual(inputs, per_sample=True)),
    Renorm: lambda inputs: (Renorm(), Renorm(2.0, 1.0, warmup_steps=3)),
    Separate: lambda inputs: (
        Separate(),
        Separate(affine="separate", each=Ghost(1)),
        Separate(each=Renorm()),
        Separate(each=Sync()),
        Separate(domains="calls"),
    ),
    Adaptive: lambda inputs: (Adaptive(), Adaptive(1, over="stream")),
    Group: lambda inputs: (Group(1), Group(2), Group(2, plain=True)),
    Instance: lambda inputs: (Instance(),),
}
CASES = [
    pytest.param((model, choice), id=f"{model.name}-{choice!r}")
    for norm in NORMS
    for model in ZOO
    for choice in CHOICES[norm](model.inputs)
]


def without_extras(names: Iterable[str]) -> list[str]:
    """Leave out what norms keep beyond batch norm's own, under the reserved name."""
    return [name for name in names if EXTRAS not in name.split(".")]


def modes(model: nn.Module) -> list[bool]:
    modules = dict(model.named_modules())
    return [modules[name].training for name in without_extras(modules)]


def outputs(model: nn.Module, inputs: tuple[Any, ...]) -> list[torch.Tensor]:
    with torch.no_grad():
        return pytree.tree_leaves(model(*inputs))


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything that a refusal must not change, by identity."""
    return {
        "modules": [(name, id(m), m.training) for name, m in model.named_modules()],
        "tensors": [(n, id(t)) for n, t in model.state_dict(keep_vars=True).items()],
        "values": {n: t.clone() for n, t in model.state_dict().items()},
        "trainable": [(n, p.requires_grad) for n, p in model.named_parameters()],
    }


def fixed_statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the buffers of every norm that says that its statistics never change."""
    return {
        f"{path}.{name}": buffer.clone()
        for path, module in model.named_modules()
        if (kind := kind_of(module)) is not None and kind.has_fixed_statistics
        for name, buffer in module.named_buffers(recurse=False)
    }


def assert_unchanged(before: dict[str, Any], model: nn.Module) -> None:
    after = snapshot(model)
    assert {k: v for k, v in before.items() if k != "values"} == {
        k: v for k, v in after.items() if k != "values"
    }
    for name, value in before["values"].items():
        assert torch.equal(value, after["values"][name]), name


def assert_only_statistics(names: Iterable[str], model: nn.Module) -> None:
    """All names are those of the buffers of norms."""
    modules = model.named_modules(remove_duplicate=False)
    norms = {path for path, module in modules if kind_of(module) is not None}
    assert {name.rpartition(".")[0] for name in names} <= norms
    assert not set(names) & dict(model.named_parameters()).keys()


@dataclass(frozen=True)
class Conversion:
    """A zoo model, its inputs, and what a choice makes of it; None where that is refused."""

    zoo: ZooModel
    choice: Rewrite
    model: nn.Module
    inputs: tuple[Any, ...]
    converted: nn.Module | None

    @classmethod
    def of(cls, zoo: ZooModel, choice: Rewrite) -> "Conversion":
        model, inputs = build(zoo.name)
        try:
            return cls(zoo, choice, model, inputs, bnc.convert(model, choice))
        except bnc.RefusedError:  # of which the first promise below is
            return cls(zoo, choice, model, inputs, None)


@pytest.fixture(scope="module", params=CASES)
def made_once(request: pytest.FixtureRequest) -> Conversion:
    return Conversion.of(*request.param)


@pytest.fixture
def conversion(made_once: Conversion) -> Conversion:
    """Give a test models of its own."""
    model, converted = copy.deepcopy((made_once.model, made_once.converted))
    return replace(made_once, model=model, converted=converted)


def test_every_norm_has_choices_here() -> None:
    assert set(CHOICES) == set(NORMS)
    assert len(ZOO) >= 20


@pytest.mark.parametrize("case", CASES)
def test_a_rewrite_keeps_its_promises(case: tuple[ZooModel, Rewrite]) -> None:
    zoo, choice = case
    model, inputs = build(zoo.name)
    before, expected = snapshot(model), outputs(model, inputs)
    planned = bnc.plan(model, choice)
    assert_unchanged(before, model)
    if planned.refusals:
        with pytest.raises(bnc.RefusedError) as refused:
            bnc.convert(model, choice, inplace=True)
        assert refused.value.refusals == planned.refusals
        assert all(": " in r and "; " in r for r in planned.refusals)
        refusals = [r for decision in planned.decisions for r in decision.refusals]
        assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", r.code) and r.remedy for r in refusals)
        assert_unchanged(before, model)
        return
    converted = bnc.convert(model, choice)
    assert_unchanged(before, model)
    if choice.keeps_batch_norm_state:
        assert without_extras(converted.state_dict()) == list(model.state_dict())
    assert dict(converted.named_parameters()).keys() >= dict(model.named_parameters()).keys()
    assert modes(converted) == modes(model)
    if kind_of(model) is None:  # a root that is a norm becomes another class
        assert type(converted) is type(model)
    actual = outputs(converted, inputs)
    assert [a.dtype for a in actual] == [e.dtype for e in expected]
    assert [a.shape for a in actual] == [e.shape for e in expected]
    if choice.preserves_eval:
        for a, e in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, e, rtol=1e-6, atol=1e-6)
    for module in converted.modules():
        if (kind := kind_of(module)) is not None and kind.has_fixed_statistics:
            module.train()
    bnc.reset_stream(converted)  # what a test stream has taught it
    assert same(outputs(converted, inputs), actual)  # fixed statistics are always used


def test_a_plain_checkpoint_loads_into_every_variant(conversion: Conversion) -> None:
    model, choice = conversion.model, conversion.choice
    if (converted := conversion.converted) is None:
        return
    moved = {
        name: tensor + 1 if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    loaded = converted.load_state_dict(moved, strict=choice.keeps_batch_norm_state)
    if not choice.keeps_batch_norm_state:
        assert_only_statistics(loaded.unexpected_keys, model)
        assert not loaded.missing_keys
        moved = {name: moved[name] for name in converted.state_dict()}
    assert all(torch.equal(converted.state_dict()[name], moved[name]) for name in moved)


def test_revert_is_bit_identical(conversion: Conversion) -> None:
    model, inputs = conversion.model, conversion.inputs
    trainable = [p.requires_grad for p in model.parameters()]
    if (converted := conversion.converted) is None:
        return
    reverted = bnc.revert(converted)
    if not conversion.choice.keeps_batch_norm_state:  # declared there: nothing to go back to
        assert [type(m) for m in reverted.modules()] == [type(m) for m in converted.modules()]
        assert same(outputs(reverted, inputs), outputs(converted, inputs))
        return
    if conversion.zoo.name == "frozen_elsewhere":  # which reverts to what it was copied from
        assert type(reverted.get_submodule("norm")) is nn.BatchNorm2d
        return
    assert [type(m) for m in reverted.modules()] == [type(m) for m in model.modules()]
    assert list(reverted.state_dict()) == list(model.state_dict())
    assert [p.requires_grad for p in reverted.parameters()] == trainable
    assert same(outputs(reverted, inputs), outputs(model, inputs))
    for old, new in zip(model.modules(), reverted.modules(), strict=True):
        if kind_of(old) is not None:
            assert vars(new).keys() == vars(old).keys()
            for name in ("eps", "momentum", "affine", "track_running_stats", "training"):
                assert getattr(new, name) == getattr(old, name), name


def test_converting_twice_changes_nothing_more(conversion: Conversion) -> None:
    if (once := conversion.converted) is None:
        return
    twice = bnc.convert(once, conversion.choice)
    assert [type(m) for m in twice.modules()] == [type(m) for m in once.modules()]
    assert same(outputs(twice, conversion.inputs), outputs(once, conversion.inputs))


def test_a_converted_model_trains_copies_and_saves(conversion: Conversion) -> None:
    inputs = conversion.inputs
    if (fresh := conversion.converted) is None:
        return
    converted = copy.deepcopy(fresh).train()
    if any(isinstance(m, nn.SyncBatchNorm) for m in converted.modules()):
        converted.eval()  # torch's own does not train on the CPU
    fixed = fixed_statistics(converted)
    loss = sum(leaf.float().square().mean() for leaf in pytree.tree_leaves(converted(*inputs)))
    if loss.requires_grad:
        loss.backward()
    for name, value in fixed_statistics(converted).items():
        assert torch.equal(value, fixed[name]), name
    fresh.load_state_dict(converted.state_dict())
    converted.eval(), fresh.eval()
    assert same(outputs(fresh, inputs), outputs(converted, inputs))

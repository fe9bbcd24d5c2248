"""Rows for modules that no rewrite takes: kinds of norms, and wrapped models."""

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize, prune

import bnconvert as bnc
from tests.disguises import OwnBuffers
from tests.remedies.policies import planned
from tests.remedies.row import Row
from tests.zoo import IMAGE, FrozenBatchNorm2d, Net, build, trained


def parametrized(removed: bool) -> nn.Module:
    norm = nn.BatchNorm2d(3)
    parametrize.register_parametrization(norm, "weight", nn.Softplus())
    if removed:
        parametrize.remove_parametrizations(norm, "weight")
    return norm


def pruned(permanent: bool) -> nn.Module:
    norm = nn.BatchNorm2d(3)
    prune.random_unstructured(norm, "weight", 0.5)
    if permanent:
        prune.remove(norm, "weight")
    return norm


def computed_bias() -> nn.Module:
    """Return a norm whose bias is made by a network, as of a conditional norm."""
    norm = nn.BatchNorm2d(3)
    del norm.bias
    norm.bias = torch.zeros(3)  # type: ignore[assignment]
    return norm


def compiled_norm(first: bool) -> None:
    """Compile a norm in place, after its conversion or before."""
    norm: nn.Module = nn.BatchNorm2d(3)
    norm = bnc.convert(norm, bnc.Frozen()) if first else norm
    norm.compile(backend="eager")
    if not first:
        bnc.convert(norm, bnc.Frozen(), inplace=True)


def lazy(run: bool) -> nn.Module:
    norm = nn.LazyBatchNorm2d()
    if run:
        norm(torch.randn(2, 3, 4, 4))
    return norm


def on_meta(load: bool, persistent: bool = True) -> nn.Module:
    """Build a model on the meta device, and load what a checkpoint of it has."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
        model[0].register_buffer("grid", torch.ones(4), persistent=persistent)
    weights = {key: torch.ones(value.shape) for key, value in model.state_dict().items()}
    if load:
        model.load_state_dict(weights, assign=True)
    return model


class ManyTimesFrozenBatchNorm2d(FrozenBatchNorm2d):
    """Says that it is frozen batch norm, and computes another formula."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def original(model: Any) -> nn.Module:
    wrapped: nn.Module = model._orig_mod
    return wrapped


MODULES = (
    Row(
        "modules/kinds.py",
        "or an nn.BatchNorm module",
        lambda _: planned(bnc.Ghost(), OwnBuffers()),
        lambda _: (planned(bnc.Keep(), OwnBuffers()), planned(bnc.Ghost(), nn.BatchNorm2d(4))),
    ),
    Row(
        "modules/kinds.py",
        "{}; use Keep()",
        lambda _: planned(bnc.Ghost(), build("own_forward")[0]),
        lambda _: planned(bnc.Keep(), build("own_forward")[0]),
    ),
    Row(
        "modules/replacement.py",
        "has no running statistics",
        lambda _: planned(bnc.Frozen(), build("without_statistics")[0]),
        lambda _: [
            planned(choice, build("without_statistics")[0]) for choice in (bnc.Group(4), bnc.Keep())
        ],
    ),
    Row(
        "modules/replacement.py",
        "has no running statistics",
        lambda _: planned(bnc.Renorm(), build("without_statistics")[0]),
        lambda _: planned(bnc.Ghost(), build("without_statistics")[0]),
    ),
    Row(
        "modules/kinds.py",
        "{}; run the model once on an input first",
        lambda _: bnc.convert(lazy(run=False), bnc.Frozen(), inplace=True),
        lambda _: bnc.convert(lazy(run=True), bnc.Frozen(), inplace=True),
    ),
    Row(
        "modules/lazy_modules.py",
        "with no weights before the first input",
        lambda _: bnc.prepare(lazy(run=False), bnc.Frozen()),
        lambda _: bnc.prepare(lazy(run=True), bnc.Frozen()),
    ),
    Row(
        "modules/lazy_modules.py",
        "load the weights first",
        lambda _: bnc.fold(on_meta(load=False), (torch.ones(2, 3, 5, 5),)),
        lambda _: bnc.fold(on_meta(load=True), (torch.ones(2, 3, 5, 5),)),
    ),
    Row(
        "modules/lazy_modules.py",
        "build the model outside of torch.device('meta')",
        lambda _: bnc.fold(on_meta(load=True, persistent=False), (torch.ones(2, 3, 5, 5),)),
        lambda _: bnc.fold(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), (torch.ones(2, 3, 5, 5),)),
    ),
    Row(
        "modules/kinds.py",
        "computed by a parametrization",
        lambda _: planned(bnc.Frozen(), parametrized(removed=False)),
        lambda _: planned(bnc.Frozen(), parametrized(removed=True)),
    ),
    Row(
        "modules/kinds.py",
        "computed from another one by a hook",
        lambda _: planned(bnc.Frozen(), pruned(permanent=False)),
        lambda _: planned(bnc.Frozen(), pruned(permanent=True)),
    ),
    Row(
        "modules/kinds.py",
        "no Parameter, but an attribute",
        lambda _: planned(bnc.Frozen(), computed_bias()),
        lambda _: (planned(bnc.Keep(), computed_bias()), planned(bnc.Frozen(), nn.BatchNorm2d(3))),
    ),
    Row(
        "modules/kinds.py",
        "convert first, then compile",
        lambda _: compiled_norm(first=False),
        lambda _: compiled_norm(first=True),
        slow=True,
    ),
    Row(
        "modules/kinds.py",
        "does not compute weight",
        lambda _: planned(bnc.Ghost(), trained(ManyTimesFrozenBatchNorm2d(3))),
        lambda _: planned(bnc.Keep(), trained(ManyTimesFrozenBatchNorm2d(3))),
    ),
    Row(
        "modules/survey.py",
        "is not a torch.nn.Module",
        lambda _: planned(bnc.Keep(), Net().forward),  # type: ignore[arg-type]
        lambda _: planned(bnc.Keep(), Net()),
    ),
    Row(
        "modules/survey.py",
        "TorchScript",
        lambda _: planned(bnc.Frozen(), torch.jit.trace(trained(Net()), IMAGE)),
        lambda _: planned(bnc.Frozen(), trained(Net())),
    ),
    Row(
        "modules/survey.py",
        "torch.compile",
        lambda _: planned(bnc.Frozen(), torch.compile(Net())),  # type: ignore[arg-type]
        lambda _: torch.compile(bnc.convert(original(torch.compile(Net())), bnc.Frozen())),
        slow=True,
    ),
    Row(
        "modules/survey.py",
        "give model.module",
        lambda _: planned(bnc.Frozen(), nn.DataParallel(Net())),
        lambda _: nn.DataParallel(bnc.convert(nn.DataParallel(Net()).module, bnc.Frozen())),
    ),
)

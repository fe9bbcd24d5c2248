"""Rows for plans, policies, prepare, revert, surveys, and other frameworks' norms."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.utils import parametrize
from torch.optim.swa_utils import update_bn

import bnconvert as bnc
from bnconvert.conventions import unbiased_variance
from tests.remedies.row import Row
from tests.zoo import IMAGE, FrozenBatchNorm2d, Net, build, trained

POLICY = bnc.Policy
STATISTICS = {"moving_mean": torch.zeros(4), "moving_variance": torch.ones(4)}


def planned(policy: Any, model: nn.Module | None = None) -> Any:
    bnc.convert(trained(Net()) if model is None else model, policy)


def read(folder: Path, text: str | None) -> None:
    """Read a policy from a file with this text, or from one that is missing."""
    path = folder / "policy.toml"
    if text is not None:
        path.write_text(text)
    planned(POLICY.parse([str(path)]))


def separate() -> nn.Module:
    return bnc.convert(trained(Net()), bnc.Separate())


def parametrized(removed: bool) -> nn.Module:
    norm = nn.BatchNorm2d(3)
    parametrize.register_parametrization(norm, "weight", nn.Softplus())
    if removed:
        parametrize.remove_parametrizations(norm, "weight")
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


class ManyTimesFrozenBatchNorm2d(FrozenBatchNorm2d):
    """Says that it is frozen batch norm, and computes another formula."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class Held(nn.Module):
    """Refers to its norm by a list, or by a ModuleList."""

    def __init__(self, in_modules: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.norms: Any = nn.ModuleList([self.norm]) if in_modules else [self.norm]


def original(model: Any) -> nn.Module:
    wrapped: nn.Module = model._orig_mod
    return wrapped


def shared() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    return nn.ModuleDict({"a": norm, "b": norm})


def shared_and_one() -> nn.Module:
    return nn.ModuleDict({"shared": shared(), "norm": nn.BatchNorm2d(3)})


def half_converted() -> nn.Module:
    layers = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    return bnc.convert(layers, bnc.Policy({"1": bnc.Ghost()}))


def with_lock() -> nn.Module:
    """Return a model that cannot be copied."""
    model = trained(Net())
    vars(model)["lock"] = (number for number in range(3))
    return model


def without_lock(convert: Any) -> None:
    """Remove the attribute from the model, convert it, and set it again afterwards."""
    model = with_lock()
    lock = vars(model).pop("lock")
    convert(model)
    vars(model)["lock"] = lock


def trained_by_vmap(how: str) -> Any:
    model = bnc.convert(nn.BatchNorm1d(3), bnc.Ghost()).train()
    x = torch.randn(2, 8, 3)
    if how == "plainly":
        vmap(model)(x)
    elif how == "with buffers":
        parameters = {n: p.detach().expand(2, *p.shape) for n, p in model.named_parameters()}
        buffers = {n: b.expand(2, *b.shape).clone() for n, b in dict(model.named_buffers()).items()}
        vmap(lambda p, b, x: functional_call(model, (p, b), x))(parameters, buffers, x)
    else:
        with bnc.update_statistics(model, False):
            vmap(model)(x)


def add(tensors: dict[str, Any], norm: nn.Module) -> None:
    bnc.conventions.keras(tensors).load_into(norm)  # type: ignore[arg-type]


def called_elsewhere(*, through_model: bool, frozen: bool = False) -> nn.Module:
    """Return a model whose forward, set on the object, calls its norm or what it held then."""
    model: Any = bnc.convert(Net(), bnc.Frozen()) if frozen else Net()
    norm = model.norm
    model.forward = (
        (lambda x: model.norm(model.conv(x))) if through_model else lambda x: norm(model.conv(x))
    )
    made: nn.Module = model
    return made


CONVERSION = (
    Row(
        "conventions.py",
        "values per channel",
        lambda _: unbiased_variance(torch.ones(3), 1),
        lambda _: unbiased_variance(torch.ones(3), 2),
    ),
    Row(
        "conventions.py",
        "momentum is",
        lambda _: bnc.conventions.keras(STATISTICS, momentum=2),
        lambda _: bnc.conventions.keras(STATISTICS, momentum=1),
    ),
    Row(
        "conventions.py",
        "the known ones are",
        lambda _: bnc.conventions.keras({"mean": torch.zeros(4)}),
        lambda _: bnc.conventions.keras(STATISTICS),
    ),
    Row(
        "conventions.py",
        "the norm has",
        lambda _: add(STATISTICS, nn.BatchNorm2d(4)),
        lambda _: add(STATISTICS, torch.nn.BatchNorm2d(4, affine=False)),
    ),
    Row(
        "conventions.py",
        "has shape",
        lambda _: add(STATISTICS, nn.BatchNorm2d(5, affine=False)),
        lambda _: add(STATISTICS, nn.BatchNorm2d(4, affine=False)),
    ),
    Row(
        "conversion/conversion.py",
        "no norm of the model holds a domain",
        lambda _: bnc.revert(Net(), domain="source"),
        lambda _: bnc.revert(Net()),
    ),
    Row(
        "conversion/conversion.py",
        "holds no domain",
        lambda _: bnc.revert(separate(), domain="elsewhere"),
        lambda _: [bnc.revert(separate(), domain=name) for name in ("source", "target")],
    ),
    Row(
        "conversion/finetuning.py",
        "weight_decay is",
        lambda _: bnc.prepare(Net(), bnc.Keep(), weight_decay=-1),
        lambda _: bnc.prepare(Net(), bnc.Keep(), weight_decay=0),
    ),
    Row(
        "conversion/finetuning.py",
        "accumulate is",
        lambda _: bnc.prepare(Net(), bnc.Keep(), accumulate=0),
        lambda _: bnc.prepare(Net(), bnc.Keep(), accumulate=1),
    ),
    Row(
        "conversion/finetuning.py",
        "momentum is",
        lambda _: bnc.accumulated_momentum(10, 2),
        lambda _: bnc.accumulated_momentum(1, 2),
    ),
    Row(
        "conversion/notation.py",
        "has no rule",
        lambda folder: read(folder, ""),
        lambda folder: read(folder, '"n*" = {norm = "keep"}'),
    ),
    Row(
        "conversion/notation.py",
        "is not TOML",
        lambda folder: read(folder, "*: keep"),
        lambda folder: read(folder, '"n*" = {norm = "keep"}'),
    ),
    Row(
        "conversion/notation.py",
        "cannot be read",
        lambda folder: read(folder, None),
        lambda folder: read(folder, '"n*" = {norm = "keep"}'),
    ),
    Row(
        "conversion/notation.py",
        "or a list of such tables",
        lambda folder: read(folder, 'norm = "frozen"'),
        lambda folder: read(folder, '"norm" = [{norm = "frozen"}, {norm = "keep"}]'),
    ),
    Row(
        "conversion/notation.py",
        "that bnconvert knows",
        lambda _: POLICY.parse(["Frosen()"]),
        lambda _: POLICY.parse(["Frozen()"]),
    ),
    Row(
        "conversion/notation.py",
        "{}",
        lambda _: POLICY.parse(["Frozen"]),
        lambda _: POLICY.parse(["Frozen()", "a=Ghost() | Keep()"]),
    ),
    Row(
        "conversion/notation.py",
        "{}",
        lambda _: POLICY.parse(["Frozen("]),
        lambda _: POLICY.parse(["Frozen()"]),
    ),
    Row(
        "conversion/notation.py",
        "{}: {}",
        lambda _: POLICY.parse(["Ghost(0)"]),
        lambda _: POLICY.parse(["Ghost(1)"]),
    ),
    Row(
        "conversion/policy.py",
        "{}",
        lambda _: planned(POLICY({"nrom": bnc.Frozen()})),
        lambda _: planned(POLICY({"norm": bnc.Frozen()})),
    ),
    Row(
        "conversion/policy.py",
        "{}",
        lambda _: planned(POLICY({"x": bnc.Frozen()}), nn.Sequential(trained(Net()))),
        lambda _: planned(POLICY({"0.norm": bnc.Frozen()}), nn.Sequential(trained(Net()))),
    ),
    Row(
        "conversion/policy.py",
        "{}",
        lambda _: planned(POLICY({"0": bnc.Frozen()}), nn.Sequential(trained(Net()))),
        lambda _: planned(POLICY({"0.*": bnc.Frozen()}), nn.Sequential(trained(Net()))),
    ),
    Row(
        "conversion/policy.py",
        "{}",
        lambda _: planned(POLICY({"*": bnc.Frozen(), "norm": bnc.Keep()}), shared_and_one()),
        lambda _: planned(POLICY({"norm": bnc.Keep(), "*": bnc.Frozen()}), shared_and_one()),
    ),
    Row(
        "conversion/notation.py",
        "is not a literal",
        lambda _: POLICY.parse(["Group(8 * 2)"]),
        lambda _: POLICY.parse(["Group(16)"]),
    ),
    Row(
        "conversion/plan.py",
        "give all of them one rule",
        lambda _: planned(POLICY({"a": bnc.Frozen(), "b": bnc.Ghost()}), shared()),
        lambda _: planned(POLICY({"[ab]": bnc.Frozen()}), shared()),
    ),
    Row(
        "conversion/plan.py",
        "plain attribute",
        lambda _: planned(bnc.Frozen(), Held(in_modules=False)),
        lambda _: (
            planned(bnc.Frozen(), Held(in_modules=True)),
            planned(bnc.Keep(), Held(in_modules=False)),
        ),
    ),
    Row(
        "conversion/plan.py",
        "is also reached through",
        lambda _: planned(bnc.Frozen(), called_elsewhere(through_model=False)),
        lambda _: (
            planned(bnc.Frozen(), called_elsewhere(through_model=True)),
            planned(bnc.Keep(), called_elsewhere(through_model=False)),
        ),
    ),
    Row(
        "conversion/conversion.py",
        "{}",
        lambda _: bnc.revert(called_elsewhere(through_model=False, frozen=True)),
        lambda _: bnc.revert(called_elsewhere(through_model=True, frozen=True)),
    ),
    Row(
        "conversion/policy.py",
        "is a class",
        lambda _: planned(bnc.Frozen),
        lambda _: planned(bnc.Frozen()),
    ),
    Row(
        "conversion/policy.py",
        "is not a policy",
        lambda _: planned("frozen"),
        lambda _: (planned(bnc.Frozen()), planned(POLICY({"norm": bnc.Frozen()}))),
    ),
    Row(
        "conversion/policy.py",
        "is not a rewrite",
        lambda _: POLICY({"norm": "frozen"}),  # type: ignore[dict-item]
        lambda _: POLICY({"norm": bnc.Group(3) | bnc.Frozen()}),
    ),
    Row(
        "conversion/policy.py",
        "stands after",
        lambda _: POLICY({"norm": bnc.Keep() | bnc.Group(3)}),
        lambda _: POLICY({"norm": bnc.Group(3) | bnc.Keep()}),
    ),
    Row(
        "conversion/policy.py",
        "is given twice",
        lambda _: POLICY.parse(["norm=Keep()", "norm=Frozen()"]),
        lambda _: POLICY.parse(["norm=Frozen()"]),
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
        "run one forward pass",
        lambda _: bnc.convert(lazy(run=False), bnc.Frozen(), inplace=True),
        lambda _: bnc.convert(lazy(run=True), bnc.Frozen(), inplace=True),
    ),
    Row(
        "modules/kinds.py",
        "computed by a parametrization",
        lambda _: planned(bnc.Frozen(), parametrized(removed=False)),
        lambda _: planned(bnc.Frozen(), parametrized(removed=True)),
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
        "modules/copying.py",
        "cannot be copied",
        lambda _: planned(bnc.Frozen(), with_lock()),
        lambda _: bnc.convert(with_lock(), bnc.Frozen(), inplace=True),
    ),
    Row(
        "modules/copying.py",
        "cannot be copied",
        lambda _: bnc.prepare(with_lock(), bnc.Frozen()),
        lambda _: without_lock(lambda model: bnc.prepare(model, bnc.Frozen())),
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
    Row(
        "modules/tracking.py",
        "torch.func transforms",
        lambda _: trained_by_vmap("plainly"),
        lambda _: (trained_by_vmap("with buffers"), trained_by_vmap("without updates")),
    ),
    Row(
        "modules/tracking.py",
        "update_bn resets",
        lambda _: update_bn([torch.randn(8, 3)], half_converted()),
        lambda _: bnc.recompute_statistics(half_converted(), [torch.randn(8, 3)]),
    ),
)

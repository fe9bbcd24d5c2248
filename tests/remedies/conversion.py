"""Rows for plans, prepare, revert, and other frameworks' norms."""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.optim.swa_utils import update_bn

import bnconvert as bnc
from bnconvert.conventions import unbiased_variance
from tests.remedies.policies import POLICY, planned, shared
from tests.remedies.row import Row
from tests.zoo import Net, trained

STATISTICS = {"moving_mean": torch.zeros(4), "moving_variance": torch.ones(4)}


def separate() -> nn.Module:
    return bnc.convert(trained(Net()), bnc.Separate())


class Held(nn.Module):
    """Refers to its norm by a list, or by a ModuleList."""

    def __init__(self, in_modules: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.norms: Any = nn.ModuleList([self.norm]) if in_modules else [self.norm]


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


TWO_PARTS = nn.Sequential(Net(), Net())
OPTIMIZERS = [torch.optim.AdamW(part.parameters()) for part in TWO_PARTS]

CONVERSION = (
    Row(
        "conversion/parameter_groups.py",
        "optimizer is a {}",
        lambda _: bnc.inspect(TWO_PARTS, optimizer=OPTIMIZERS),  # type: ignore[arg-type]
        lambda _: [
            bnc.inspect(part, optimizer=optimizer)
            for part, optimizer in zip(TWO_PARTS, OPTIMIZERS, strict=True)
        ],
    ),
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
        "conversion/plan.py",
        "give all of them one rule",
        lambda _: planned(POLICY({"a": bnc.Frozen(), "b": bnc.Ghost()}), shared()),
        lambda _: planned(POLICY({"[ab]": bnc.Frozen()}), shared()),
    ),
    Row(
        "modules/tracing/hidden_references.py",
        "plain attribute",
        lambda _: planned(bnc.Frozen(), Held(in_modules=False)),
        lambda _: (
            planned(bnc.Frozen(), Held(in_modules=True)),
            planned(bnc.Keep(), Held(in_modules=False)),
        ),
    ),
    Row(
        "modules/tracing/hidden_references.py",
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
        "modules/copies/copying.py",
        "{}: cannot be copied",
        lambda _: planned(bnc.Frozen(), with_lock()),
        lambda _: bnc.convert(with_lock(), bnc.Frozen(), inplace=True),
    ),
    Row(
        "modules/copies/copying.py",
        "{}: cannot be copied",
        lambda _: bnc.prepare(with_lock(), bnc.Frozen()),
        lambda _: without_lock(lambda model: bnc.prepare(model, bnc.Frozen())),
    ),
    Row(
        "modules/tracking.py",
        "torch.func transforms",
        lambda _: trained_by_vmap("plainly"),
        lambda _: (trained_by_vmap("with buffers"), trained_by_vmap("without updates")),
    ),
    Row(
        "modules/update_bn.py",
        "update_bn resets",
        lambda _: update_bn([torch.randn(8, 3)], half_converted()),
        lambda _: bnc.recompute_statistics(half_converted(), [torch.randn(8, 3)]),
    ),
)

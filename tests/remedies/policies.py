"""Rows for policies, and for how they are written."""

from pathlib import Path
from typing import Any

from torch import nn

import bnconvert as bnc
from bnconvert.conversion.situation import TASKS
from tests.remedies.row import Row
from tests.zoo import Net, trained

POLICY = bnc.Policy


def planned(policy: Any, model: nn.Module | None = None) -> Any:
    bnc.convert(trained(Net()) if model is None else model, policy)


def read(folder: Path, text: str | None) -> None:
    """Read a policy from a file with this text, or from one that is missing."""
    path = folder / "policy.toml"
    if text is not None:
        path.write_text(text)
    planned(POLICY.parse([str(path)]))


def suggested(**situation: Any) -> Any:
    return bnc.suggest(trained(Net()), **{"batch_size": 2, **situation})


def shared() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    return nn.ModuleDict({"a": norm, "b": norm})


def shared_and_one() -> nn.Module:
    return nn.ModuleDict({"shared": shared(), "norm": nn.BatchNorm2d(3)})


POLICIES = (
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
        "conversion/finetuning.py",
        "chooses by the batch size",
        lambda _: bnc.prepare(trained(Net()), "auto"),
        lambda _: bnc.prepare(trained(Net()), "auto", batch_size=2),
    ),
    Row(
        "conversion/finetuning.py",
        "and one is given",
        lambda _: bnc.prepare(trained(Net()), bnc.Frozen(), batch_size=2),
        lambda _: (
            bnc.prepare(trained(Net()), "auto", batch_size=2),
            bnc.prepare(trained(Net()), bnc.Frozen()),
        ),
    ),
    Row(
        "conversion/situation.py",
        "batch_size is",
        lambda _: suggested(batch_size=0),
        lambda _: suggested(batch_size=1),
    ),
    Row(
        "conversion/situation.py",
        "world_size is",
        lambda _: suggested(world_size=0),
        lambda _: suggested(world_size=1),
    ),
    Row(
        "conversion/situation.py",
        "task is",
        lambda _: suggested(task="GAN"),
        lambda _: [suggested(task=task) for task in (*TASKS, None)],
    ),
    Row(
        "conversion/situation.py",
        "domains is",
        lambda _: suggested(domains="day"),
        lambda _: (suggested(domains=1), suggested(domains=("day", "night"))),
    ),
)

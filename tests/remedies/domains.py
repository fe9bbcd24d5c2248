"""Rows for domains and for the switches of norms."""

from typing import Any

import torch
from torch import nn

import bnconvert as bnc
from tests.remedies.norms import Times, X, advised, recompute
from tests.remedies.row import Row
from tests.zoo import Net, build, trained


def separate(domains: Any = ("source", "target")) -> nn.Module:
    return bnc.convert(trained(Net()), bnc.Separate(domains))


def in_domain(which: Any, x: torch.Tensor = X) -> Any:
    model = separate()
    with bnc.domain(model, which):
        model(x)


def use_running(model: nn.Module) -> None:
    with bnc.use_statistics(model, "running"):
        pass


def use(statistics: Any) -> None:
    with bnc.use_statistics(Net(), statistics):
        pass


def enter_domain(model: nn.Module) -> None:
    with bnc.domain(model, "source"):
        pass


def by_calls() -> nn.Module:
    return bnc.convert(build("norm_called_twice")[0], bnc.Separate("calls"))


def call_once_more(again: bool) -> None:
    model = bnc.convert(Times(2), bnc.Separate("calls"))
    vars(model)["times"] = 3
    model = bnc.convert(bnc.revert(model, domain="0"), bnc.Separate("calls")) if again else model
    model(torch.randn(2, 3, 4, 4))


def two_norms(x: torch.Tensor) -> None:
    tracked, without = nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False)
    use_running(nn.Sequential(tracked, without))


DOMAINS = (
    Row(
        "norms/separate.py",
        "affine is",
        lambda _: bnc.Separate(affine="both"),  # type: ignore[arg-type]
        lambda _: (bnc.Separate(affine="shared"), bnc.Separate(affine="separate")),
    ),
    Row(
        "norms/separate.py",
        "each is",
        lambda _: bnc.Separate(each=bnc.Frozen()),
        lambda _: [
            bnc.Separate(each=each) for each in (bnc.Keep(), bnc.Ghost(), bnc.Renorm(), bnc.Sync())
        ],
    ),
    Row(
        "norms/separate.py",
        "is the string",
        lambda _: bnc.Separate("clean"),  # type: ignore[arg-type]
        lambda _: (bnc.Separate(("clean",)), bnc.Separate("calls")),
    ),
    Row(
        "norms/separate.py",
        "use different names",
        lambda _: bnc.Separate(("a.b", "c")),
        lambda _: bnc.Separate(("a_b", "c")),
    ),
    Row(
        "norms/separate.py",
        "cannot be counted",
        lambda _: bnc.convert(build("branch_in_child")[0], bnc.Separate("calls")),
        lambda _: bnc.convert(build("branch_in_child")[0], bnc.Separate(("a", "b"))),
    ),
    Row(
        "norms/separate_norm.py",
        "the domain labels",
        lambda _: in_domain(torch.zeros(7, dtype=torch.long)),
        lambda _: in_domain(torch.zeros(len(X), dtype=torch.long)),
    ),
    Row(
        "norms/separate_norm.py",
        "its domain is unknown",
        lambda _: recompute(separate(), use_reentrant=True),
        lambda _: advised(separate()),
    ),
    Row(
        "norms/separate_norm.py",
        "where its calls are not counted",
        lambda _: by_calls().get_submodule("norm")(torch.randn(2, 8, 3, 3)),
        lambda _: (by_calls()(X), advised(by_calls())),
    ),
    Row(
        "norms/separate_norm.py",
        "is called once more",
        lambda _: call_once_more(again=False),
        lambda _: call_once_more(again=True),
    ),
    Row(
        "norms/separate_norm.py",
        "of which only one could stay",
        lambda _: bnc.convert(separate(), bnc.Ghost()),
        lambda _: bnc.convert(bnc.revert(separate(), domain="source"), bnc.Ghost()),
    ),
    Row("norms/switches.py", "statistics is", lambda _: use("ema"), lambda _: use("batch")),
    Row(
        "norms/switches.py",
        "no norm of the model has domains",
        lambda _: enter_domain(Net()),
        lambda _: enter_domain(bnc.convert(Net(), bnc.Separate(domains=("source", "other")))),
    ),
    Row(
        "norms/switches.py",
        "has no domain",
        lambda _: in_domain("elsewhere"),
        lambda _: (in_domain("source"), in_domain("target")),
    ),
    Row(
        "norms/switches.py",
        "domain labels have shape",
        lambda _: in_domain(torch.zeros(len(X))),
        lambda _: in_domain(torch.zeros(len(X), dtype=torch.long)),
    ),
    Row(
        "norms/switches.py",
        "domain labels go from",
        lambda _: in_domain(torch.full((len(X),), 2)),
        lambda _: in_domain(torch.full((len(X),), 1)),
    ),
    Row(
        "norms/switches.py",
        "no running statistics to use",
        lambda _: two_norms(X),
        lambda _: use_running(nn.Sequential(nn.BatchNorm2d(3))[0]),
    ),
)

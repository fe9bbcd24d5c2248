"""Rows for the rewrites, their norms, and the switches."""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import bnconvert as bnc
from tests.remedies.row import Row
from tests.zoo import IMAGE, Net, build, trained

X = IMAGE[0]


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


def recompute(model: nn.Module, **settings: Any) -> None:
    """Train one step with all of the model's forward in a checkpoint."""
    x = X.clone().requires_grad_()
    checkpoint(model.train(), x, **settings).sum().backward()


def advised(model: nn.Module) -> Any:
    """Checkpoint as the message says."""
    recompute(model, use_reentrant=False, context_fn=lambda: bnc.checkpoint_contexts(model))


def by_calls() -> nn.Module:
    return bnc.convert(build("norm_called_twice")[0], bnc.Separate("calls"))


class Times(nn.Module):
    """Calls a norm several times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.norm, self.times = nn.BatchNorm2d(3), times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.times):
            x = self.norm(x)
        return x


def call_once_more(again: bool) -> None:
    model = bnc.convert(Times(2), bnc.Separate("calls"))
    vars(model)["times"] = 3
    model = bnc.convert(bnc.revert(model, domain="0"), bnc.Separate("calls")) if again else model
    model(torch.randn(2, 3, 4, 4))


def two_norms(x: torch.Tensor) -> None:
    tracked, without = nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False)
    use_running(nn.Sequential(tracked, without))


def group_of_one(choice: Any) -> Any:
    bnc.convert(nn.BatchNorm2d(4), choice)(torch.randn(2, 4, 1, 1))


def virtual(part: bool) -> None:
    model = bnc.convert(trained(Net()), bnc.Virtual(X)).train()
    (model.get_submodule("norm") if part else model)(torch.randn(2, 8, 3, 3) if part else X)


def renorm_of_one(size: int) -> Any:
    bnc.convert(nn.BatchNorm1d(4), bnc.Renorm()).train()(torch.randn(size, 4))


NORMS = (
    Row("norms/adaptive.py", "prior is", lambda _: bnc.Adaptive(-1), lambda _: bnc.Adaptive(0)),
    Row(
        "norms/adaptive.py",
        "over is",
        lambda _: bnc.Adaptive(over="both"),  # type: ignore[arg-type]
        lambda _: (bnc.Adaptive(over="batch"), bnc.Adaptive(over="stream")),
    ),
    Row(
        "norms/frozen.py",
        "affine is",
        lambda _: bnc.Frozen("no"),  # type: ignore[arg-type]
        lambda _: (bnc.Frozen(affine="frozen"), bnc.Frozen(affine="trainable")),
    ),
    Row("norms/ghost.py", "size is", lambda _: bnc.Ghost(0), lambda _: bnc.Ghost(1)),
    Row(
        "norms/group.py",
        "leaves a single value",
        lambda _: group_of_one(bnc.Group(4)),
        lambda _: (group_of_one(bnc.Group(2)), group_of_one(bnc.Keep())),
    ),
    Row(
        "norms/group.py",
        "{}; {}",
        lambda _: bnc.convert(nn.BatchNorm2d(6), bnc.Group(4)),
        lambda _: [bnc.convert(nn.BatchNorm2d(6), c) for c in (bnc.Group(3), bnc.Keep())],
    ),
    Row(
        "norms/group.py",
        "{}; {}",
        lambda _: bnc.convert(nn.BatchNorm1d(6), bnc.Group(6)),
        lambda _: [bnc.convert(nn.BatchNorm1d(6), c) for c in (bnc.Group(3), bnc.Keep())],
    ),
    Row("norms/group.py", "groups is", lambda _: bnc.Group(0), lambda _: bnc.Group(1)),
    Row(
        "norms/renorm.py",
        "is recomputed after",
        lambda _: recompute(bnc.convert(trained(Net()), bnc.Renorm()), use_reentrant=False),
        lambda _: advised(bnc.convert(trained(Net()), bnc.Renorm())),
    ),
    Row(
        "norms/renorm.py", "needs r_max", lambda _: bnc.Renorm(0.5), lambda _: bnc.Renorm(1.0, 0.0)
    ),
    Row(
        "norms/renorm.py",
        "infinite limit",
        lambda _: bnc.Renorm(float("inf"), 1.0, 10),
        lambda _: bnc.Renorm(3.0, 1.0, 10),
    ),
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
    Row(
        "norms/virtual.py",
        "before its reference batch ran",
        lambda _: virtual(part=True),
        lambda _: virtual(part=False),
    ),
    Row(
        "norms/virtual.py",
        "reference is not a batch",
        lambda _: bnc.Virtual(()),
        lambda _: (bnc.Virtual(X), bnc.Virtual((X,))),
    ),
    Row(
        "norms/virtual.py",
        "in one forward, and the reference's",
        lambda _: bnc.convert(Times(2), bnc.Virtual(torch.ones(2, 3, 4, 4))),
        lambda _: (
            bnc.convert(Times(2), bnc.Separate(domains="calls")),
            bnc.convert(Times(2), bnc.Keep()),
        ),
    ),
    Row(
        "modules/tracking.py",
        "Expected more than 1 value",
        lambda _: renorm_of_one(1),
        lambda _: (
            renorm_of_one(2),
            bnc.convert(nn.BatchNorm1d(4), bnc.Frozen()).train()(torch.randn(1, 4)),
        ),
    ),
)

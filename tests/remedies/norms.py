"""Rows for the rewrites and their norms."""

import warnings
from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import distributed as dist, nn
from torch.utils.checkpoint import checkpoint

import bnconvert as bnc
from tests.remedies.row import Row
from tests.zoo import IMAGE, Net, trained

X = IMAGE[0]


def recompute(model: nn.Module, **settings: Any) -> None:
    """Train one step with all of the model's forward in a checkpoint."""
    x = X.clone().requires_grad_()
    checkpoint(model.train(), x, **settings).sum().backward()


def advised(model: nn.Module) -> Any:
    """Checkpoint as the message says."""
    recompute(model, use_reentrant=False, context_fn=lambda: bnc.checkpoint_contexts(model))


class Times(nn.Module):
    """Calls a norm several times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.norm, self.times = nn.BatchNorm2d(3), times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.times):
            x = self.norm(x)
        return x


def group_of_one(choice: Any) -> Any:
    bnc.convert(nn.BatchNorm2d(4), choice)(torch.randn(2, 4, 1, 1))


def virtual(part: bool) -> None:
    model = bnc.convert(trained(Net()), bnc.Virtual(X)).train()
    (model.get_submodule("norm") if part else model)(torch.randn(2, 8, 3, 3) if part else X)


class Steps(nn.Module):
    """Calls its norm once for each step; torch.fx cannot count them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.norm(x[:, step]) for step in range(x.shape[1])])


class TwiceInTraining(Steps):
    """Calls its norm twice in training mode, and once in eval mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.cat([x, x], 1) if self.training else x)


class DroppedPart(nn.Module):
    """A checkpointed part with a dropout before a norm that has a reference."""

    def __init__(self, settings: Any) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3))
        self.settings = settings

    def forward(self, x: torch.Tensor) -> Any:
        return checkpoint(self.part, x, **self.settings(self.part))

    def step(self) -> None:
        with warnings.catch_warnings(action="ignore"):  # the reference's pass has no gradient
            model = bnc.convert(self, bnc.Virtual(torch.randn(8, 3)))
            model.train()(torch.randn(4, 3).requires_grad_()).sum().backward()


REFERENCE = bnc.Virtual(torch.randn(8, 1, 3))


def step(model: nn.Module) -> None:
    model.train()(torch.randn(4, 1, 3))


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
        "norms/momentum.py",
        "accumulate is",
        lambda _: bnc.prepare(Net(), bnc.Keep(), accumulate=0),
        lambda _: bnc.prepare(Net(), bnc.Keep(), accumulate=1),
    ),
    Row(
        "norms/momentum.py",
        "momentum is",
        lambda _: bnc.set_momentum(Net(), 10),
        lambda _: bnc.set_momentum(Net(), 0.1),
    ),
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
    Row(
        "norms/group.py",
        "{}; use Group({}) or Keep()",
        lambda _: bnc.convert(BatchNormAct2d(6), bnc.Group(3, plain=True)),
        lambda _: [bnc.convert(BatchNormAct2d(6), c) for c in (bnc.Group(3), bnc.Keep())],
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
        "norms/sync.py",
        "no process group that this rank is in",
        lambda _: bnc.convert(nn.BatchNorm1d(4), bnc.Sync(dist.GroupMember.NON_GROUP_MEMBER)),
        lambda _: bnc.convert(nn.BatchNorm1d(4), bnc.Sync(dist.group.WORLD)),
    ),
    Row(
        "norms/virtual_norm.py",
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
        "norms/call_count.py",
        "times in one forward",
        lambda _: bnc.convert(Times(2), bnc.Virtual(torch.ones(2, 3, 4, 4))),
        lambda _: (
            bnc.convert(Times(2), bnc.Separate(domains="calls")),
            bnc.convert(Times(2), bnc.Keep()),
        ),
    ),
    Row(
        "norms/call_count.py",
        "times in one forward",
        lambda _: bnc.convert(Steps(), bnc.Virtual(torch.randn(8, 2, 3))),
        lambda _: bnc.convert(Steps(), bnc.Keep()),
    ),
    Row(
        "norms/call_count.py",
        "the reference does not run through the model",
        lambda _: bnc.convert(Steps(), bnc.Virtual(torch.randn(8, 1, 4))),
        lambda _: bnc.convert(Steps(), bnc.Virtual(torch.randn(8, 1, 3))),
    ),
    Row(
        "norms/virtual_norm.py",
        "may have run again since",
        lambda _: DroppedPart(lambda part: {"use_reentrant": True}).step(),
        lambda _: DroppedPart(
            lambda part: {
                "use_reentrant": False,
                "context_fn": lambda: bnc.checkpoint_contexts(part),
            }
        ).step(),
    ),
    Row(
        "norms/virtual_norm.py",
        "called twice in one forward of its reference",
        lambda _: step(bnc.convert(TwiceInTraining(), REFERENCE)),
        lambda _: step(bnc.convert(TwiceInTraining(), bnc.Keep())),
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

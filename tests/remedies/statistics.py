"""Rows for measured statistics."""

from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.statistics.batches import BatchReader
from tests.disguises import Sliced
from tests.remedies.row import Row
from tests.zoo import IMAGE, Net, build, trained

BATCHES = [torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))] * 2

X = torch.randn(2, 4, 3, 3)

FLAT = [batch.mean((2, 3)) for batch in BATCHES]


def recompute(model: nn.Module | None = None, batches: Any = BATCHES, **settings: Any) -> Any:
    return bnc.recompute_statistics(model or trained(Net()), batches, **settings)


def captured(model: nn.Module) -> nn.Module:
    return torch.export.export(model, (BATCHES[0],)).module()


class Two(nn.Module):
    """Takes two inputs, and maybe names for them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return self.norm(x + y + z)  # type: ignore[no-any-return]


class InPlace(nn.Module):
    """Changes its input in place, and calls a norm twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        return self.other(self.norm(self.norm(x)))  # type: ignore[no-any-return]


class Flat(nn.BatchNorm1d):
    """Has one norm."""

    def __init__(self) -> None:
        super().__init__(3)


class Many(Flat):
    """Takes any number of inputs."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return super().forward(inputs[0])


class Masked(Flat):
    """Takes a mask too."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x if mask is None else x * mask)


def half(dtype: torch.dtype) -> nn.Module:
    norm = nn.BatchNorm2d(3).half()
    return norm.float() if dtype is torch.float32 else norm


def switched(inside: bool) -> None:
    model = trained(Net())
    with bnc.update_statistics(model, False):
        if inside:
            recompute(model)
    recompute(model)


def labelled(inside: bool) -> None:
    model = bnc.convert(trained(Net()), bnc.Separate())
    with bnc.domain(model, torch.zeros(4, dtype=torch.long)):
        if inside:
            recompute(model)
    recompute(model, domain="source")


def frozen() -> nn.Module:
    return bnc.convert(trained(Net()), bnc.Frozen())


STATISTICS = (
    Row(
        "statistics/batches.py",
        "batches is a",
        lambda _: recompute(batches=BATCHES[0]),
        lambda _: recompute(batches=BATCHES[0].split(32)),
    ),
    Row(
        "statistics/batches.py",
        "never ends",
        lambda _: recompute(batches=cycle(BATCHES)),
        lambda _: recompute(batches=islice(cycle(BATCHES), 100)),
    ),
    Row(
        "statistics/batches.py",
        "max_samples is",
        lambda _: recompute(max_samples=0),
        lambda _: (recompute(max_samples=4), recompute(max_samples=None)),
    ),
    Row(
        "statistics/batches.py",
        "max_samples counts them",
        lambda _: list(BatchReader(iter(object, None), 4)),
        lambda _: list(BatchReader(islice(iter(object, None), 100), None)),
    ),
    Row(
        "statistics/batch_inputs.py",
        "takes any number",
        lambda _: recompute(Many(), [(FLAT[0], FLAT[1])]),
        lambda _: recompute(
            Many(), [(FLAT[0], FLAT[1])], forward=lambda model, batch: model(batch[0])
        ),
    ),
    Row(
        "statistics/batch_inputs.py",
        "which is not there",
        lambda _: recompute(Masked(), [{"image": FLAT[0]}]),
        lambda _: recompute(
            Masked(), [{"image": FLAT[0]}], forward=lambda model, batch: model(batch["image"])
        ),
    ),
    Row(
        "statistics/batch_inputs.py",
        "may take {} too",
        lambda _: recompute(Masked(), [(FLAT[0], FLAT[1])]),
        lambda _: recompute(
            Masked(), [(FLAT[0], FLAT[1])], forward=lambda model, batch: model(*batch)
        ),
    ),
    Row(
        "statistics/batch_inputs.py",
        "has {} elements and {} requires",
        lambda _: recompute(Two(), [(BATCHES[0], BATCHES[0])]),
        lambda _: recompute(
            Two(),
            [(BATCHES[0], BATCHES[0])],
            forward=lambda model, batch: model(*batch, batch[0]),
        ),
    ),
    Row(
        "statistics/layerwise.py",
        "changes its input in place",
        lambda _: recompute(InPlace(), [b.clone() for b in BATCHES]),
        lambda _: recompute(InPlace(), forward=lambda model, batch: model(batch.clone())),
    ),
    Row(
        "statistics/captured_norms.py",
        "{}: the graph was captured in training mode",
        lambda _: recompute(captured(trained(Net()).train())),
        lambda _: recompute(captured(trained(Net()).eval())),
    ),
    Row("statistics/layerwise.py", "{}", lambda _: recompute(batches=[]), lambda _: recompute()),
    Row(
        "statistics/minibatch.py",
        "{}",
        lambda _: recompute(batches=[BATCHES[0] * torch.nan], method="aggregate"),
        lambda _: recompute(batches=[BATCHES[0]], method="aggregate"),
    ),
    Row(
        "statistics/notes.py",
        "{}",
        lambda _: recompute(nn.Sequential(Sliced()), [X[:, :2]]),
        lambda _: recompute(nn.Sequential(nn.BatchNorm2d(4)), [X]),
    ),
    Row(
        "statistics/targets.py",
        "{}",
        lambda _: recompute(build("functional_norm")[0], [IMAGE[0]]),
        lambda _: recompute(trained(Net()), [IMAGE[0]]),
    ),
    Row(
        "statistics/recomputation.py",
        "method is",
        lambda _: recompute(method="exact"),
        lambda _: [recompute(method=m) for m in ("layerwise", "aggregate", "ema")],
    ),
    Row(
        "statistics/recomputation.py",
        "variance is",
        lambda _: recompute(variance="biased"),
        lambda _: recompute(variance="population"),
    ),
    Row(
        "statistics/targets.py",
        "no norm has running statistics",
        lambda _: recompute(frozen()),
        lambda _: (recompute(bnc.revert(frozen())), recompute(bnc.convert(frozen(), bnc.Ghost()))),
    ),
    Row(
        "statistics/targets.py",
        "is in force",
        lambda _: switched(inside=True),
        lambda _: switched(inside=False),
    ),
    Row(
        "statistics/targets.py",
        "measured domain by domain",
        lambda _: labelled(inside=True),
        lambda _: labelled(inside=False),
    ),
    Row(
        "statistics/targets.py",
        "keep the norms in float32",
        lambda _: recompute(half(torch.float16), [b * 1e4 for b in BATCHES]),
        lambda _: recompute(half(torch.float32), [b * 1e4 for b in BATCHES]),
    ),
    Row(
        "statistics/task.py",
        "one value per channel",
        lambda _: recompute(nn.BatchNorm1d(3), [FLAT[0][:1]], variance="unbiased"),
        lambda _: recompute(nn.BatchNorm1d(3), [FLAT[0][:2]], variance="unbiased"),
    ),
)

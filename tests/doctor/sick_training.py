"""Sick trainings: `inspect` reports what an optimizer, a loader or a wrapper does to norms."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

import bnconvert as bnc
from tests.doctor.patients import usual
from tests.doctor.sick_model import Patient, SickModel
from tests.zoo import Net, trained


def optimized(decay: float = 0.0, *, changed: bool = False) -> Patient:
    """Return a network with its optimizer; or with that of the network it is a copy of."""
    model = usual()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=decay)
    return Patient(bnc.convert(model, bnc.Ghost(4)) if changed else model, optimizer=optimizer)


def partly_frozen(*, with_gradients: bool) -> Patient:
    """Freeze a layer whose parameters the optimizer holds, before or after a backward pass."""
    patient = optimized()
    if with_gradients:
        patient.model(torch.randn(2, 3, 4, 4)).sum().backward()
    patient.model.get_submodule("head").requires_grad_(False)
    return patient


def head_only() -> Patient:
    """Give an optimizer a part of the parameters."""
    model = usual()
    return Patient(model, optimizer=torch.optim.SGD(model.head.parameters(), 0.1))


def loaded(samples: int, batch_size: int, *, fresh: bool = False) -> Callable[[], Patient]:
    """Return what makes a network with a loader of so many samples."""

    def make() -> Patient:
        data = TensorDataset(torch.zeros(samples, 3, 4, 4))
        return Patient(usual(fresh=fresh), loader=DataLoader(data, batch_size))

    return make


class Pooled(nn.Module):
    """A network with a norm behind a global pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.norm = nn.AdaptiveAvgPool2d(1), trained(nn.BatchNorm2d(3)).train()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.pool(x))
        return y


def pooled(samples: int | None, batch_size: int = 8) -> Callable[[], Patient]:
    """Return what makes a network with one value per image, and a loader of so many samples."""

    def make() -> Patient:
        loader = None
        if samples is not None:
            loader = DataLoader(TensorDataset(torch.zeros(samples, 3, 4, 4)), batch_size)
        return Patient(Pooled().train(), loader=loader, example_inputs=(torch.randn(2, 3, 4, 4),))

    return make


def counted(times: int) -> Callable[[], Patient]:
    """Return what makes a network that runs several times in each step of its optimizer."""

    def make() -> Patient:
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()
        optimizer.state[next(model.parameters())]["step"].fill_(60)
        model.get_buffer("1.num_batches_tracked").fill_(60 * times)
        return Patient(model, optimizer=optimizer)

    return make


def averaged() -> Patient:
    """Return averaged weights."""
    model = usual()
    average = AveragedModel(model)
    average.update_parameters(model)
    return Patient(average)


def checkpointing(on: bool) -> Callable[[], Patient]:
    """Return what makes a network whose class has a switch for gradient checkpointing."""

    class Switched(Net):
        grad_checkpointing: bool

    def make() -> Patient:
        model = trained(Switched()).train()
        model.grad_checkpointing = on
        return Patient(model)

    return make


DROP_LAST = "drop_last = True"
AUTO = 'bnc.prepare(model, "auto", batch_size='
SICK_TRAINING = (
    SickModel("BN013", pooled(64), pooled(64, 32), "", "warning"),
    SickModel("BN013", pooled(None), pooled(64, 32), "", "info"),
    SickModel("BN203", loaded(64, 2), loaded(64, 32), AUTO, "error"),
    SickModel("BN203", loaded(64, 8, fresh=True), loaded(64, 32), AUTO, "warning"),
    SickModel("BN205", pooled(65, 16), pooled(64, 16), DROP_LAST, "error"),
    SickModel("BN205", loaded(65, 16), loaded(64, 16), DROP_LAST, "warning"),
    SickModel("BN301", lambda: optimized(0.1), optimized, "bnc.exempt_norms(model, optimizer)"),
    SickModel("BN302", counted(4), counted(1)),
    SickModel("BN303", checkpointing(True), checkpointing(False)),
    SickModel("BN311", loaded(66, 16), loaded(72, 16), DROP_LAST),
    SickModel("BN312", averaged, lambda: Patient(AveragedModel(usual()))),
    SickModel(
        "BN314", lambda: partly_frozen(with_gradients=True), optimized, "requires_grad", "warning"
    ),
    SickModel(
        "BN314", lambda: partly_frozen(with_gradients=False), optimized, "requires_grad", "info"
    ),
    SickModel("BN315", lambda: optimized(changed=True), optimized, "", "error"),
    SickModel("BN315", head_only, optimized, "optimizer.add_param_group", "info"),
)

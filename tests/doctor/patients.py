"""Networks that are sick in one way, and what makes them."""

import math
from collections.abc import Callable, Mapping
from typing import Self

import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.doctor.sick_model import Patient
from tests.zoo import Net, trained

#: What a row is made with; "norm." stands before the tensors of Net's norm.
Values = Mapping[str, float]


def usual(*, fresh: bool = False) -> Net:
    """Return a network in training mode whose norm is as after training, or new."""
    model = Net() if fresh else trained(Net())
    return model.train()


def of(model: Callable[[], nn.Module], **given: object) -> Callable[[], Patient]:
    """Return what makes a patient of a model; its inputs are a small batch where asked for."""
    return lambda: Patient(model(), **given)  # type: ignore[arg-type]


def with_norm(norm: Callable[[int], nn.Module]) -> Callable[[], Patient]:
    """Return what makes a network with a norm, its statistics as after training."""
    return lambda: Patient(trained(Net(norm)).train())


def with_values(values: Values, *, all_channels: bool = False) -> Callable[[], Patient]:
    """Return what makes a network with other numbers in its norm: in one channel, or in all."""

    def make() -> Patient:
        model = usual()
        with torch.no_grad():
            for name, value in values.items():
                tensor: Tensor = getattr(model.norm, name)
                tensor[slice(None) if all_channels else 1] = value
        return Patient(model)

    return make


def two_norms(*counts: int) -> Callable[[], Patient]:
    """Return what makes a model of norms that have counted batches."""

    def make() -> Patient:
        model = nn.Sequential(*(trained(nn.BatchNorm1d(4)) for _ in counts))
        for norm, count in zip(model, counts, strict=True):
            norm.get_buffer("num_batches_tracked").fill_(count)
        return Patient(model)

    return make


def frozen_parameters() -> Patient:
    """Freeze the parameters of a network, as is often thought to be enough."""
    model = usual()
    model.norm.requires_grad_(False)
    return Patient(model)


def frozen_norm() -> Patient:
    """Freeze a norm for good."""
    return Patient(bnc.convert(usual(), bnc.Frozen()))


def asked_to_train() -> Patient:
    """Ask a frozen norm to train."""
    return Patient(frozen_norm().model.requires_grad_(True))


def switched_off() -> Patient:
    """Switch tracking off, as a freeze of Lightning once did."""
    model = usual()
    vars(model.norm)["track_running_stats"] = False
    return Patient(model)


def in_eval() -> Patient:
    """Freeze a norm by eval mode."""
    model = usual()
    model.norm.eval()
    return Patient(model)


class KeptInEval(Net):
    """A network whose own train() keeps its norm in eval mode."""

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.norm.eval()
        return self


class Idle(Net):
    """A network that holds a norm in a list, and does not call it."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = [nn.BatchNorm2d(8)]


class Uncalled(Net):
    """A network with a norm that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.BatchNorm2d(8)


class BiasBeforeNorm(Net):
    """A network whose convolution adds a bias before the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)


class Masked(nn.Module):
    """A network with a buffer."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.norm = trained(nn.BatchNorm1d(4))
        self.register_buffer("mask", torch.tensor([0.0, value]))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y


class UntracedNorm(nn.Module):
    """A network whose forward depends on its input, so that torch.fx cannot trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x) if x.sum() > 0 else x
        return y


def untrained_with_batches() -> Patient:
    """Return a new network and data for it."""
    return Patient(usual(fresh=True), [torch.randn(16, 3, 8, 8) for _ in range(4)])


def statistics_lost(values: Values) -> Callable[[], Patient]:
    """Return what makes a network with broken statistics, and data to measure them on."""

    def make() -> Patient:
        model = with_values(values)().model
        return Patient(model, [torch.randn(16, 3, 8, 8) for _ in range(4)])

    return make


def partly_loaded(others: bool) -> Callable[[], Patient]:
    """Return what makes a network whose norm lost its statistics: the only one, or one of two."""

    def make() -> Patient:
        patient = untrained_with_batches()
        nn.init.normal_(patient.model.get_parameter("norm.bias"))
        if others:
            further = trained(nn.BatchNorm2d(4)).train()
            return Patient(nn.Sequential(patient.model, further), patient.batches)
        return patient

    return make


def in_eval_without_momentum() -> Patient:
    """Return a network for inference whose norm has a momentum of 0."""
    patient = norm(momentum=0.0)()
    patient.model.eval()
    return patient


def one_nan() -> Patient:
    """Return a network whose training diverged."""
    model = usual()
    with torch.no_grad():
        model.head.weight.fill_(math.nan)
    return Patient(model)


def scripted() -> Patient:
    """Return a network with a part in TorchScript."""
    return Patient(nn.Sequential(torch.jit.script(nn.BatchNorm1d(4)), nn.BatchNorm1d(4)))


def folding(weight: float, dtype: torch.dtype = torch.float32) -> Callable[[], Patient]:
    """Return what makes a network that folds, with a weight of the norm in one channel."""

    def make() -> Patient:
        model = nn.Sequential(nn.Conv2d(3, 2, 1), trained(nn.BatchNorm2d(2)))
        with torch.no_grad():
            model.get_parameter("0.weight").fill_(300.0)
            model.get_buffer("1.running_var").fill_(1.0)
            model.get_parameter("1.weight").copy_(torch.tensor([weight, 1.0]))
        inputs = (torch.randn(2, 3, 4, 4, dtype=dtype),)
        return Patient(model.to(dtype).eval(), example_inputs=inputs)

    return make


def collapsed() -> Patient:
    """Return a network whose weights have shrunk in a long training."""
    patient = with_values({"weight": 1e-5}, all_channels=True)()
    patient.model.get_buffer("norm.num_batches_tracked").fill_(5000)
    return patient


def norm(**settings: object) -> Callable[[], Patient]:
    """Return what makes a network whose norm has other settings."""
    return with_norm(lambda channels: nn.BatchNorm2d(channels, **settings))  # type: ignore[arg-type]


def anew() -> Patient:
    """Return a network whose norm averages all batches, and has counted none of them."""
    patient = norm(momentum=None)()
    patient.model.get_buffer("norm.num_batches_tracked").zero_()
    return patient


def different_eps() -> Patient:
    """Return a network of norms with two eps."""
    return Patient(nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.BatchNorm1d(4, eps=1e-3)))

import copy
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

import bnconvert as bnc
from bnconvert.norms.frozen import FrozenNorm
from tests.submodules import submodule
from tests.zoo import IMAGE, Net, build, trained

SHAPES: dict[type[_BatchNorm], list[tuple[int, ...]]] = {
    nn.BatchNorm1d: [(4, 8), (2, 8, 5)],
    nn.BatchNorm2d: [(2, 8, 3, 4), (1, 8, 1, 1), (0, 8, 3, 3)],
    nn.BatchNorm3d: [(2, 8, 3, 4, 2)],
    nn.SyncBatchNorm: [(4, 8), (2, 8, 5), (2, 8, 3, 4)],
}


def naive(x: Tensor, norm: nn.Module) -> Tensor:
    """The formula, in float64."""
    shape = (1, -1) + (1,) * (x.dim() - 2)
    mean, var, weight, bias = (
        getattr(norm, name).detach().double().reshape(shape)
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    y: Tensor = weight * (x.double() - mean) / (var + norm.eps).sqrt() + bias
    return y


def statistics(model: nn.Module) -> list[Tensor]:
    return [buffer.clone() for buffer in model.buffers()]


def train(model: nn.Module, steps: int = 10) -> None:
    """Take SGD steps on data far from the running statistics."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, weight_decay=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 3, 8, 8) * 3 + 5).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("norm", "shape"), [(norm, shape) for norm, shapes in SHAPES.items() for shape in shapes]
)
def test_it_normalizes_by_the_running_statistics_in_both_modes(
    norm: type[_BatchNorm], shape: tuple[int, ...]
) -> None:
    frozen = bnc.convert(trained(norm(8)), bnc.Frozen())
    x = torch.randn(shape) * 3 + 5
    for mode in (True, False):
        y = frozen.train(mode)(x)
        assert y.shape == x.shape
        torch.testing.assert_close(y.double(), naive(x, frozen), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("affine", ["frozen", "trainable"])
def test_the_statistics_never_change(affine: Literal["frozen", "trainable"]) -> None:
    model = bnc.convert(build("plain")[0], bnc.Frozen(affine=affine)).train()
    before = statistics(model)
    train(model)
    model.eval().train()
    assert all(torch.equal(a, b) for a, b in zip(before, statistics(model), strict=True))
    assert model.get_buffer("norm.num_batches_tracked") == 100


def test_a_frozen_affine_neither_learns_nor_decays() -> None:
    model, _ = build("plain")
    model.get_parameter("norm.weight").grad = torch.ones(8)  # left over from a step before
    bnc.convert(model, bnc.Frozen(), inplace=True).train()
    norm = model.get_submodule("norm")
    before = [p.clone() for p in norm.parameters()]
    conv = model.get_parameter("conv.weight").clone()
    train(model)
    assert all(p.grad is None for p in norm.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, norm.parameters(), strict=True))
    assert not torch.equal(conv, model.get_parameter("conv.weight"))


def test_a_trainable_affine_gets_the_gradients_of_the_formula() -> None:
    converted = bnc.convert(trained(nn.BatchNorm2d(8)), bnc.Frozen(affine="trainable"))
    norm = submodule(converted, "", FrozenNorm).train()
    x = torch.randn(2, 8, 4, 4, requires_grad=True)
    cotangent = torch.randn(2, 8, 4, 4)
    norm(x).backward(cotangent)
    scale = (norm.get_buffer("running_var").double() + norm.eps).rsqrt().reshape(1, -1, 1, 1)
    mean = norm.get_buffer("running_mean").double().reshape(1, -1, 1, 1)
    centered = (x.detach().double() - mean) * scale
    expected = {
        "weight": (cotangent * centered).sum((0, 2, 3)),
        "bias": cotangent.double().sum((0, 2, 3)),
    }
    for name, value in expected.items():
        torch.testing.assert_close(norm.get_parameter(name).grad, value.float())
    dx = cotangent * scale * norm.weight.detach().double().reshape(1, -1, 1, 1)
    torch.testing.assert_close(x.grad, dx.float())


def test_revert_thaws_what_was_frozen_and_nothing_else() -> None:
    model = build("plain")[0]
    model.get_parameter("norm.bias").requires_grad_(False)
    parameters = dict(model.get_submodule("norm").named_parameters())
    bnc.convert(model, bnc.Frozen(), inplace=True)
    assert not any(p.requires_grad for p in model.get_submodule("norm").parameters())
    bnc.revert(model, inplace=True)
    norm = model.get_submodule("norm")
    assert [n for n, p in norm.named_parameters() if p.requires_grad] == ["weight"]
    assert dict(norm.named_parameters()) == parameters


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_output_has_the_dtype_of_the_input(dtype: torch.dtype) -> None:
    norm = bnc.convert(trained(nn.BatchNorm2d(8)), bnc.Frozen())
    x = torch.randn(2, 8, 4, 4).to(dtype)
    assert norm(x).dtype is dtype
    assert norm(x.requires_grad_()).dtype is dtype
    torch.testing.assert_close(norm(x).double(), naive(x, norm), rtol=1e-2, atol=1e-2)


def test_copies_and_checkpoints_stay_frozen() -> None:
    model = bnc.convert(build("plain")[0], bnc.Frozen())
    twin = copy.deepcopy(model)
    other = bnc.convert(trained(Net(), seed=1), bnc.Frozen())
    other.load_state_dict(model.state_dict())
    for copied in (twin, other):
        train(copied.train())
        before = statistics(model)
        assert all(torch.equal(a, b) for a, b in zip(before, statistics(copied), strict=True))


def test_tensors_that_stand_in_for_the_parameters_get_their_gradient() -> None:
    model = bnc.convert(build("plain")[0], bnc.Frozen())
    stand_ins = {f"norm.{name}": torch.ones(8, requires_grad=True) for name in ("weight", "bias")}
    functional_call(model, stand_ins, IMAGE).sum().backward()
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in stand_ins.values())


@pytest.mark.parametrize("affine", ["frozen", "trainable"])
def test_it_trains_under_ddp(affine: Literal["frozen", "trainable"], tmp_path: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        model = bnc.convert(build("plain")[0], bnc.Frozen(affine=affine)).train()
        before, weight = statistics(model), model.get_parameter("norm.weight").clone()
        train(DistributedDataParallel(model), steps=3)
        assert all(torch.equal(a, b) for a, b in zip(before, statistics(model), strict=True))
        assert torch.equal(weight, model.get_parameter("norm.weight")) == (affine == "frozen")
    finally:
        dist.destroy_process_group()


def test_nan_input_does_not_poison_it() -> None:
    norm = bnc.convert(trained(nn.BatchNorm2d(8)), bnc.Frozen()).train()
    norm(torch.full((2, 8, 3, 3), torch.nan))
    assert all(buffer.isfinite().all() for buffer in norm.buffers())


def test_channels_last_stays_channels_last() -> None:
    norm = bnc.convert(trained(nn.BatchNorm2d(8)), bnc.Frozen())
    x = torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last)
    assert norm(x).is_contiguous(memory_format=torch.channels_last)


def test_a_wrong_number_of_axes_is_refused_as_before() -> None:
    norm = bnc.convert(trained(nn.BatchNorm2d(8)), bnc.Frozen())
    with pytest.raises(ValueError, match="expected 4D input"):
        norm(torch.randn(2, 8))

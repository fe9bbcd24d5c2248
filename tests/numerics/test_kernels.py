import pytest
import torch
from torch import Tensor

from bnconvert.numerics import kernels

BOUNDS = ((0, 2), (2, 2), (2, 5))


def images(dtype: torch.dtype, channels_last: bool) -> Tensor:
    x = torch.randn(5, 3, 4, 6, generator=torch.Generator().manual_seed(0)) * 2 + 3
    memory = torch.channels_last if channels_last else torch.contiguous_format
    return x.to(dtype).to(memory_format=memory)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_each_slice_is_measured_by_itself_and_in_full_precision(
    dtype: torch.dtype, channels_last: bool
) -> None:
    x = images(dtype, channels_last)
    mean, var = kernels.measure(x, BOUNDS)
    assert mean.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)
    for row, (first, end) in enumerate(BOUNDS):
        part = x[first:end].double()
        expected = (torch.zeros(3), torch.zeros(3))
        if first < end:
            expected = part.mean((0, 2, 3)), part.var((0, 2, 3), unbiased=False)
        torch.testing.assert_close(mean[row], expected[0].to(mean.dtype), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(var[row], expected[1].to(var.dtype), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(40000, 2), (8, 2, 100, 100)])
def test_a_large_mean_is_no_trap_where_torch_adds_in_float32(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 30
    if len(shape) == 4:
        x = x.to(memory_format=torch.channels_last)
    axes = tuple(a for a in range(len(shape)) if a != 1)
    truth = x.double().mean(axes)
    mean, var = kernels.measure(x, ((0, len(x)),))
    mine = (mean[0].double() - truth).abs().max()
    theirs = (torch.batch_norm_update_stats(x, None, None, 0.0)[0].double() - truth).abs().max()
    assert mine < 2e-5
    assert mine < theirs / 3  # what batch norm itself measures there
    torch.testing.assert_close(
        var[0].double(), x.double().var(axes, unbiased=False), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_map_writes_every_slice_and_keeps_the_memory_format(
    channels_last: bool,
) -> None:
    x = images(torch.float32, channels_last)
    center, scale, shift = torch.rand(3, 3, 3).unbind()
    y = kernels.transform(x, center, scale, shift, BOUNDS)
    assert y.stride() == x.stride()
    for row, (first, end) in enumerate(BOUNDS):
        c, s, b = (v[row].reshape(1, 3, 1, 1) for v in (center, scale, shift))
        torch.testing.assert_close(y[first:end], (x[first:end] - c) * s + b)


def test_a_slice_of_a_dense_batch_is_contiguous() -> None:
    strided = torch.randn(4, 6, 3).transpose(1, 2)
    assert not strided.is_contiguous()
    assert kernels.dense(strided).is_contiguous()
    for memory, shape in (
        (torch.channels_last, (2, 3, 4, 5)),
        (torch.channels_last_3d, (2, 3, 4, 5, 6)),
    ):
        x = torch.randn(shape).to(memory_format=memory)
        assert kernels.dense(x) is x


@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_of_every_slice_are_those_of_the_formula(channels_last: bool) -> None:
    x = images(torch.float64, channels_last).requires_grad_()
    gradient = torch.randn_like(x)
    weight, bias = torch.rand(2, 3, 3, dtype=torch.float64, requires_grad=True)
    parts = [(x[a:b] - x[a:b].mean((0, 2, 3), keepdim=True)) for a, b in BOUNDS]
    scaled = [
        part * (part.square().mean((0, 2, 3), keepdim=True) + 0.1).rsqrt() * w[:, None, None]
        + b[:, None, None]
        for part, w, b in zip(parts, weight, bias, strict=True)
    ]
    expected = torch.autograd.grad(torch.cat(scaled), (x, weight, bias), gradient)
    whole = x.detach()
    y, mean, var, invstd = kernels.batch_norm(whole, weight.detach(), bias.detach(), 0.1, BOUNDS)
    torch.testing.assert_close(y, torch.cat(scaled).detach())
    for row, part in enumerate(parts):
        biased = part.square().mean((0, 2, 3)) if part.numel() else torch.zeros_like(var[row])
        torch.testing.assert_close(var[row], biased.detach())
    for recorded in (False, True):
        with torch.set_grad_enabled(recorded):
            arguments = (gradient, whole, weight.detach(), mean, invstd, BOUNDS)
            torch.testing.assert_close(kernels.batch_norm_backward(*arguments), expected)
            # a batch of one slice has a way of its own
            rows = (weight.detach()[:1], mean[:1], invstd[:1])
            alone = kernels.batch_norm_backward(gradient[:2], whole[:2], *rows, BOUNDS[:1])
            torch.testing.assert_close(alone, (expected[0][:2], expected[1][:1], expected[2][:1]))


@pytest.mark.parametrize("channels_last", [False, True])
def test_sums_of_every_slice_are_of_the_gradient_and_of_it_times_the_distance(
    channels_last: bool,
) -> None:
    x = images(torch.float64, channels_last)
    gradient, center = torch.randn_like(x), torch.rand(3, 3, dtype=torch.float64)
    dots, totals = kernels.sums_backward(gradient, x, center, BOUNDS)
    for row, (first, end) in enumerate(BOUNDS):
        part = gradient[first:end]
        distance = x[first:end] - center[row][:, None, None]
        torch.testing.assert_close(dots[row], (part * distance).sum((0, 2, 3)))
        torch.testing.assert_close(totals[row], part.sum((0, 2, 3)))


def test_they_are_for_the_cpu_and_not_for_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 3)
    assert kernels.has_kernels(x)
    assert not kernels.has_kernels(x.to("meta"))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not kernels.has_kernels(x)

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnconvert as bnc
from tests.zoo import Net, build, trained

CLASSES = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
POSITIONS = {2: (), 3: (7,), 4: (4, 3), 5: (2, 3, 2)}


def batch(samples: int = 6, dimensions: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 5, *POSITIONS[dimensions], generator=generator, dtype=torch.float64)
    return x * 3 + 2 + seed


def source(dimensions: int = 4) -> _BatchNorm:
    return trained(CLASSES[dimensions](5)).double()


def naive(norm: _BatchNorm, x: Tensor, prior: float) -> Tensor:
    """Normalize by the mixture of Schneider et al."""
    axes = [a for a in range(x.dim()) if a != 1]
    shape = (1, -1, *[1] * (x.dim() - 2))
    n = x.shape[0]
    mean = (prior * norm.get_buffer("running_mean") + n * x.mean(axes)) / (prior + n)
    var = (prior * norm.get_buffer("running_var") + n * x.var(axes, unbiased=False)) / (prior + n)
    x_hat = (x - mean.reshape(shape)) / (var.reshape(shape) + norm.eps).sqrt()
    return x_hat * norm.weight.reshape(shape) + norm.bias.reshape(shape)


@pytest.mark.parametrize("dimensions", CLASSES)
@pytest.mark.parametrize("prior", [16, 0.5, 0])
def test_eval_normalizes_by_the_mixture(dimensions: int, prior: float) -> None:
    plain, x = source(dimensions), batch(dimensions=dimensions)
    norm = bnc.convert(plain, bnc.Adaptive(prior))
    torch.testing.assert_close(norm(x), naive(plain, x, prior))
    for name, buffer in plain.named_buffers():
        assert torch.equal(norm.get_buffer(name), buffer)


def test_an_infinite_prior_is_the_source_and_none_is_the_batch() -> None:
    plain, x = source(), batch()
    assert torch.equal(bnc.convert(plain, bnc.Adaptive(float("inf")))(x), plain(x))
    alone = bnc.convert(plain, bnc.Adaptive(0))(x)
    torch.testing.assert_close(alone, copy.deepcopy(plain).train()(x))


def test_training_is_batch_norm() -> None:
    plain, x = source().train(), batch()
    norm = bnc.convert(plain, bnc.Adaptive())
    assert torch.equal(norm(x), plain(x))
    torch.testing.assert_close(norm.running_var, plain.running_var)


def test_over_a_stream_each_mixture_is_the_next_prior_and_reset_restores_bit_for_bit() -> None:
    plain = source()
    norm = bnc.convert(plain, bnc.Adaptive(4, over="stream"))
    first = norm(batch(seed=0))
    reference = copy.deepcopy(plain)
    for seed in (0, 1, 2):
        x = batch(seed=seed)
        expected = naive(reference, x, 4)
        if seed:
            torch.testing.assert_close(norm(x), expected)
        share = 6 / 10
        reference.get_buffer("running_mean").lerp_(x.mean((0, 2, 3)), share)
        reference.get_buffer("running_var").lerp_(x.var((0, 2, 3), unbiased=False), share)
    torch.testing.assert_close(norm.state_dict()["bnconvert.var"], reference.running_var)
    assert torch.equal(norm.get_buffer("running_var"), plain.get_buffer("running_var"))
    bnc.reset_stream(norm)
    assert torch.equal(norm.state_dict()["bnconvert.mean"], plain.get_buffer("running_mean"))
    assert torch.equal(norm(batch(seed=0)), first)


def test_the_stream_is_saved_and_a_plain_checkpoint_starts_it_anew() -> None:
    norm = bnc.convert(source(), bnc.Adaptive(over="stream"))
    norm(batch())
    twin = bnc.convert(source(), bnc.Adaptive(over="stream"))
    twin.load_state_dict(norm.state_dict())
    assert torch.equal(twin(batch(seed=1)), norm(batch(seed=1)))
    other = trained(nn.BatchNorm2d(5), seed=7).double()
    twin.load_state_dict(other.state_dict())
    assert torch.equal(twin.state_dict()["bnconvert.mean"], other.get_buffer("running_mean"))


@pytest.mark.parametrize("of", ["training", "recomputation"])
def test_a_stream_starts_anew_from_new_statistics_of_its_source(of: str) -> None:
    norm = bnc.convert(source(), bnc.Adaptive(over="stream"))
    norm(batch())
    before = copy.deepcopy(norm.state_dict())
    if of == "training":
        norm.train()(batch(seed=1))
    else:
        result = bnc.recompute_statistics(norm, [batch(seed=1)])
    state = norm.state_dict()
    assert not torch.equal(state["running_mean"], before["running_mean"])
    for name in ("mean", "var"):
        assert torch.equal(state[f"bnconvert.{name}"], state[f"running_{name}"])
    if of == "recomputation":
        result.undo()
        assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_a_broken_batch_and_a_switch_leave_the_stream_alone() -> None:
    norm = bnc.convert(source(), bnc.Adaptive(over="stream"))
    norm(torch.full((2, 5, 3, 3), torch.inf).double())
    with bnc.update_statistics(norm, False):
        norm(batch())
    assert torch.equal(norm.state_dict()["bnconvert.mean"], source().get_buffer("running_mean"))
    assert norm.skipped == 1


def test_the_batch_has_its_gradient() -> None:
    plain, x = source(), batch().requires_grad_()
    norm = bnc.convert(plain, bnc.Adaptive(4))
    gradient = torch.randn_like(x)
    (mine,) = torch.autograd.grad(norm(x), x, gradient)
    (theirs,) = torch.autograd.grad(naive(plain, x, 4), x, gradient)
    torch.testing.assert_close(mine, theirs)


def test_an_empty_batch_and_a_single_sample_are_fine() -> None:
    norm = bnc.convert(source(), bnc.Adaptive(0))
    assert norm(batch(0)).shape == (0, 5, 4, 3)
    assert norm(batch(1)).isfinite().all()


def test_it_exports_the_mixture_and_says_what_is_deliberately_off(tmp_path: Path) -> None:
    model, inputs = build("plain")
    report = bnc.export(bnc.convert(model, bnc.Adaptive()), inputs, tmp_path / "model.onnx")
    assert report.facts["standing"] == 1
    assert [finding.id for finding in report.findings] == ["BN408", "BN403"]
    assert not [check for check in report.checks if check.measure == "rows"]
    certain = bnc.convert(model, bnc.Adaptive(float("inf")))
    report = bnc.export(certain, inputs, tmp_path / "model.onnx")
    assert (report.facts["folded"], report.facts["standing"]) == (1, 0)
    assert [check for check in report.checks if check.measure == "rows"]


def test_a_stream_is_not_exported(tmp_path: Path) -> None:
    model, inputs = build("plain")
    converted = bnc.convert(model, bnc.Adaptive(over="stream"))
    with pytest.raises(bnc.BnconvertError, match="norm: remember the test stream, which a file"):
        bnc.export(converted, inputs, tmp_path / "model.onnx")


def test_wrong_arguments_are_refused_and_eval_is_cautioned() -> None:
    with pytest.raises(ValueError, match="prior is -1; use a number of samples"):
        bnc.Adaptive(-1)
    with pytest.raises(ValueError, match="over is 'time'; use over="):
        bnc.Adaptive(over="time")  # type: ignore[arg-type]
    with pytest.raises(bnc.RefusedError, match="no running statistics to adapt from"):
        bnc.convert(nn.BatchNorm2d(3, track_running_stats=False), bnc.Adaptive())
    (decision,) = bnc.plan(trained(Net()), bnc.Adaptive()).decisions
    assert decision.caution == (
        "in eval mode the output depends on the test batch, as adaptation does"
    )
    assert "prior=16, over='batch'" in repr(bnc.convert(source(), bnc.Adaptive()))

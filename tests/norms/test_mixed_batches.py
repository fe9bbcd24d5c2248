"""Batches whose samples are of several domains: each is normalized with its own."""

import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.numerics.blocks import Blocks
from tests.norms.domains import CLASSES, DOMAINS, EACH, LABELS, alone, batch, plain, separate


@pytest.mark.parametrize("affine", ["shared", "separate"])
@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize("each", EACH, ids=repr)
@pytest.mark.parametrize("dimensions", CLASSES)
def test_a_mixed_batch_is_each_domains_norm_on_its_subset(
    dimensions: int, each: bnc.Keep, labels: list[int], affine: str
) -> None:
    norm = separate(plain(dimensions), each=each, affine=affine)
    single = {name: alone(plain(dimensions), each) for name in DOMAINS}
    x = batch(dimensions=dimensions).requires_grad_()
    where = torch.tensor(labels)
    gradient = torch.randn_like(x)
    with bnc.domain(norm, where):
        y = norm(x)
    (dx,) = torch.autograd.grad(y, x, gradient)
    for index, name in enumerate(DOMAINS):
        subset = x[where == index].detach().requires_grad_()
        expected = single[name](subset)
        torch.testing.assert_close(y[where == index], expected)
        (other,) = torch.autograd.grad(expected, subset, gradient[where == index])
        torch.testing.assert_close(dx[where == index], other)
        reverted = bnc.revert(norm, domain=name)
        torch.testing.assert_close(reverted.running_var, single[name].running_var)
    norm.eval()
    with bnc.domain(norm, where):
        y = norm(x)
    for index, name in enumerate(DOMAINS):
        torch.testing.assert_close(y[where == index], single[name].eval()(x[where == index]))


@pytest.mark.parametrize("affine", ["shared", "separate"])
@pytest.mark.parametrize("training", [True, False])
def test_images_that_are_too_large_to_move_are_normalized_where_they_lie(
    affine: str, training: bool
) -> None:
    norm = separate(affine=affine).train(training)
    single = {name: plain().train(training) for name in DOMAINS}
    x = torch.randn(7, 5, 60, 60, dtype=torch.float64).requires_grad_()
    where = torch.tensor(LABELS[1])
    gradient = torch.randn_like(x)
    with bnc.domain(norm, where):
        assert isinstance(norm.active, Blocks)
        assert norm.active.suits_runs(x)
        y = norm(x)
    (dx,) = torch.autograd.grad(y, x, gradient)
    for index, name in enumerate(DOMAINS):
        subset = x[where == index].detach().requires_grad_()
        expected = single[name](subset)
        torch.testing.assert_close(y[where == index], expected)
        (other,) = torch.autograd.grad(expected, subset, gradient[where == index])
        torch.testing.assert_close(dx[where == index], other)
        reverted = bnc.revert(norm, domain=name)
        torch.testing.assert_close(dict(reverted.state_dict()), dict(single[name].state_dict()))


@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize("positions", [(4, 3), (60, 60)])
@pytest.mark.parametrize("each", EACH, ids=repr)
def test_an_inplace_activation_may_follow_a_mixed_batch(
    each: bnc.Keep, positions: tuple[int, ...], labels: list[int]
) -> None:
    plain = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.ReLU(inplace=True))
    model = bnc.convert(plain, bnc.Separate(each=each)).train()
    for memory in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(7, 3, *positions).to(memory_format=memory)
        with bnc.domain(model, torch.tensor(labels)):
            model(x).sum().backward()
    gradient = model.get_parameter("0.weight").grad
    assert gradient is not None
    assert gradient.isfinite().all()


def test_a_mixed_batch_compiles_into_one_graph() -> None:
    norm, twin = separate(), separate()
    torch.compiler.reset()  # what other tests compiled counts against a limit
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    where = torch.tensor(LABELS[1])
    x = batch()
    with bnc.domain(norm, where), bnc.domain(twin, where):
        torch.testing.assert_close(compiled(x), norm(x))
    torch.testing.assert_close(dict(twin.state_dict()), dict(norm.state_dict()))


def test_one_value_of_a_domain_is_refused_as_by_torch() -> None:
    norm = separate(plain(2))
    with (
        bnc.domain(norm, torch.tensor([0, 0, 1])),
        pytest.raises(ValueError, match="more than 1 value per channel"),
    ):
        norm(batch(3, 2))

import copy
import functools
from contextlib import ExitStack

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite
from tests.norms.test_switches import POLICIES, X, same, state, tracked
from tests.zoo import trained

GRADIENT = torch.randn(X.shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=POLICIES, ids=repr)
def norm(request: pytest.FixtureRequest) -> nn.Module:
    plain = trained(nn.BatchNorm2d(3))
    norm = (plain if request.param is None else bnc.convert(plain, request.param)).train()
    norm(X)  # a virtual norm has its reference now
    return norm


def dx(module: nn.Module) -> Tensor:
    x = X.clone().requires_grad_()
    return torch.autograd.grad(module(x), x, GRADIENT)[0]


def test_the_contexts_update_once_and_give_the_forwards_gradient(norm: nn.Module) -> None:
    reference = copy.deepcopy(norm)
    contexts = functools.partial(bnc.checkpoint_contexts, norm)
    for _ in range(2):
        x = X.clone().requires_grad_()
        y = checkpoint(norm, x, use_reentrant=False, context_fn=contexts)
        (mine,) = torch.autograd.grad(y, x, GRADIENT)
        torch.testing.assert_close(mine, dx(reference))
        assert same(tracked(norm), tracked(reference))


def test_the_contexts_serve_every_backward_pass_and_leave_nothing(norm: nn.Module) -> None:
    reference, settings = copy.deepcopy(norm), set(vars(norm))
    x = X.clone().requires_grad_()
    contexts = functools.partial(bnc.checkpoint_contexts, norm)
    y = checkpoint(norm, x, use_reentrant=False, context_fn=contexts)
    expected, before = dx(reference), state(norm)
    norm(X * 3)  # which moves the running statistics between forward and backward
    moved = state(norm)
    for _ in range(2):
        (mine,) = torch.autograd.grad(y, x, GRADIENT, retain_graph=True)
        torch.testing.assert_close(mine, expected)
    assert same(state(norm), moved)
    assert not same(moved, before)
    left = set(vars(norm)) - settings
    assert all(getattr(norm, name) in (None, True) for name in left)


def test_two_calls_in_one_part_are_recomputed_in_order() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = trained(nn.BatchNorm2d(3))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(x) * self.norm(x * 2 + 1)
            return y

    model = bnc.convert(Twice(), bnc.Renorm()).train()
    reference = copy.deepcopy(model)
    x = X.clone().requires_grad_()
    contexts = functools.partial(bnc.checkpoint_contexts, model)
    y = checkpoint(model, x, use_reentrant=False, context_fn=contexts)
    (mine,) = torch.autograd.grad(y, x, GRADIENT)
    torch.testing.assert_close(mine, dx(reference))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("policy", [p for p in POLICIES if "Renorm" not in repr(p)], ids=repr)
def test_a_backward_pass_inside_the_switch_updates_once(
    policy: Rewrite | None, reentrant: bool
) -> None:
    plain = trained(nn.BatchNorm2d(3))
    norm = (plain if policy is None else bnc.convert(plain, policy)).train()
    norm(X)
    reference = copy.deepcopy(norm)
    x = X.clone().requires_grad_()
    y = checkpoint(norm, x, use_reentrant=reentrant)
    with ExitStack() as stack:
        stack.enter_context(bnc.update_statistics(norm, False))
        if hasattr(norm, "active"):
            stack.enter_context(bnc.domain(norm, "source"))
        y.backward(GRADIENT)
    torch.testing.assert_close(x.grad, dx(reference))
    assert same(tracked(norm), tracked(reference))


@pytest.mark.parametrize("reentrant", [False, True])
def test_renorm_without_the_contexts_is_an_error_and_not_a_wrong_gradient(reentrant: bool) -> None:
    norm = bnc.convert(trained(nn.BatchNorm2d(3)), bnc.Renorm()).train()
    y = checkpoint(norm, X.clone().requires_grad_(), use_reentrant=reentrant)
    with pytest.raises(RuntimeError, match="checkpointed batch renormalization is recomputed aft"):
        y.backward(GRADIENT)


def test_without_them_a_checkpoint_updates_twice() -> None:
    """torch's behaviour, of which the option is the remedy."""
    norm = trained(nn.BatchNorm2d(3)).train()
    checkpoint(norm, X.clone().requires_grad_(), use_reentrant=False).sum().backward()
    assert norm.num_batches_tracked == 102

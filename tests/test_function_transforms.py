"""Norms inside of torch.func and forward-mode differentiation: what plain batch norm gives."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.functional import jacobian
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, stack_module_state, vmap

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite
from tests.zoo import trained

#: torch itself scripts something when forward-mode differentiation is first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
X = torch.randn(3, 4, 2, 3, 2, generator=torch.Generator().manual_seed(0)) * 2 + 1
CHOICES: tuple[Rewrite, ...] = (
    bnc.Frozen(),
    bnc.Frozen(affine="trainable"),
    bnc.Sync(),
    bnc.Ghost(2),
    bnc.Virtual(X[0]),
    bnc.Virtual(X[0], per_sample=True),
    bnc.Renorm(),
    bnc.Separate(each=bnc.Ghost(2)),
    bnc.Adaptive(),
    bnc.Adaptive(4, over="stream"),
    bnc.Group(1),
)
every = pytest.mark.parametrize("choice", CHOICES, ids=repr)


def net(choice: Rewrite, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(24, 2))
    return bnc.convert(trained(layers, seed), choice)


def loss(y: Tensor) -> Tensor:
    return (y.sin() * torch.arange(1.0, 3)).sum()


def dual(model: nn.Module, x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        y = model(forward_ad.make_dual(x.clone().requires_grad_(), torch.ones_like(x)))
        return forward_ad.unpack_dual(y).tangent  # type: ignore[no-any-return]


def batch_of_gradients(model: nn.Module, x: Tensor) -> Tensor:
    return jacobian(model, x, vectorize=True)  # type: ignore[no-any-return]


IN_EVAL: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "vmap": lambda model, x: vmap(model)(torch.stack([x, x + 1])),
    "grad": lambda model, x: grad(lambda given: loss(model(given)))(x),
    "a sample's gradient": lambda model, x: vmap(grad(lambda s: loss(model(s[None]))))(x),
    "jacrev": lambda model, x: jacrev(model)(x),
    "a sample's jacobian": lambda model, x: vmap(jacrev(lambda s: model(s[None])[0]))(x),
    "jacfwd": lambda model, x: jacfwd(model)(x),
    "second order": lambda model, x: jacfwd(jacrev(lambda given: loss(model(given))))(x),
    "jvp": lambda model, x: jvp(model, (x,), (torch.ones_like(x),))[1],
    "dual numbers": dual,
    "a batch of gradients": batch_of_gradients,
}


@pytest.mark.parametrize("transform", IN_EVAL.values(), ids=IN_EVAL)
@pytest.mark.parametrize("choice", [c for c in CHOICES if c.preserves_eval], ids=repr)
def test_in_eval_it_is_plain_batch_norm(
    choice: Rewrite, transform: Callable[[nn.Module, Tensor], Tensor]
) -> None:
    expected = transform(net(bnc.Keep()), X[0])
    torch.testing.assert_close(transform(net(choice), X[0]), expected, rtol=1e-4, atol=1e-5)


def state(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return parameters and buffers, without gradient and as copies."""
    return (
        {name: p.detach().clone() for name, p in model.named_parameters()},
        {name: b.clone() for name, b in model.named_buffers()},
    )


def gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return what one backward pass gives, also for parameters that are frozen."""
    parameters = {name: p.requires_grad_() for name, p in state(model)[0].items()}
    found = torch.autograd.grad(
        loss(functional_call(model, parameters, x)), [*parameters.values()], allow_unused=True
    )
    zipped = zip(parameters.items(), found, strict=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zipped}


@every
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_gradients_and_statistics_are_those_of_a_backward_pass(
    choice: Rewrite, training: bool
) -> None:
    model = net(choice).train(training)
    twin = copy.deepcopy(model)
    expected = gradients(twin, X[1])

    def objective(parameters: Any, buffers: Any, x: Tensor) -> Tensor:
        return loss(functional_call(model, (parameters, buffers), x))

    parameters, buffers = state(model)
    found = grad(objective)(parameters, buffers, X[1])
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(buffers[name], buffer, rtol=1e-4, atol=1e-5, msg=name)


@every
def test_a_batch_of_gradients_is_each_of_them_in_training(choice: Rewrite) -> None:
    model = net(choice).train()
    with bnc.update_statistics(model, False):
        one_by_one, together = (
            jacobian(model, X[0], vectorize=vectorize) for vectorize in (False, True)
        )
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)


def test_the_blocks_of_a_mixed_batch_are_transformed_too() -> None:
    model = net(bnc.Separate())
    with bnc.domain(model, torch.tensor([0, 1, 0, 1])):
        together, one_by_one = vmap(model)(X), torch.stack([model(x) for x in X])
        torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)
        jacobians = [jacobian(model, X[0], vectorize=v) for v in (False, True)]
        torch.testing.assert_close(*jacobians, rtol=1e-4, atol=1e-5)


@every
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_an_ensemble_is_its_models(choice: Rewrite, training: bool) -> None:
    models = [net(choice, seed).train(training) for seed in range(3)]
    parameters, buffers = stack_module_state(models)

    def forward(parameters: Any, buffers: Any, x: Tensor) -> Tensor:
        y: Tensor = functional_call(models[0], (parameters, buffers), x)
        return y

    twins = copy.deepcopy(models)
    y = vmap(forward)(parameters, buffers, X)
    for row, twin in enumerate(twins):
        torch.testing.assert_close(y[row], twin(X[row]), rtol=1e-4, atol=1e-5)
        for name, buffer in twin.named_buffers():
            torch.testing.assert_close(buffers[name][row], buffer, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    "choice", [bnc.Sync(), bnc.Ghost(2), bnc.Virtual(X[0]), bnc.Renorm(), bnc.Separate()], ids=repr
)
def test_statistics_that_cannot_be_updated_are_refused_by_name(choice: Rewrite) -> None:
    model = net(choice).train()
    before = state(model)[1]
    with pytest.raises(RuntimeError, match=r"torch\.func transforms a forward that updates "):
        vmap(model)(X)
    running = {name: b for name, b in model.named_buffers() if "bnconvert" not in name}
    assert all(torch.equal(before[name], buffer) for name, buffer in running.items())
    with bnc.update_statistics(model, False):
        vmap(model)(X)
    vmap(model.eval())(X)

"""Which weights move a number: as the whole gradients say, of which few channels are computed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.torch_private.storages import StorageReference
from bnconvert.verification.weights.weight_gradients import FewChannels, moving_weights

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
Forward = Callable[[Tensor, Tensor], Tensor]


def weight(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()


FORWARDS: dict[str, tuple[Forward, tuple[int, ...]]] = {
    "as it is": (lambda x, w: F.conv2d(x, w), (20, 3, 3, 3)),
    "along one axis": (lambda x, w: F.conv1d(x[0], w), (20, 6, 3)),
    "only its last channel": (lambda x, w: F.conv2d(x, w)[:, -1], (20, 3, 3, 3)),
    "nothing": (lambda x, w: F.conv2d(x, w) * 0, (20, 3, 3, 3)),
    "an input of zeros": (lambda x, w: F.conv2d(x * 0, w) + x.sum(), (20, 3, 3, 3)),
    "groups": (lambda x, w: F.conv2d(x, w, groups=3), (30, 1, 3, 3)),
    "transposed": (lambda x, w: F.conv_transpose2d(x, w), (3, 20, 3, 3)),
    "twice, which cancels out": (lambda x, w: F.conv2d(x, w) - F.conv2d(x, w), (20, 3, 3, 3)),
    "twice": (lambda x, w: F.conv2d(x, w) + F.conv2d(x.flip(2), w), (20, 3, 3, 3)),
    "NaN": (lambda x, w: F.conv2d(x * float("nan"), w), (20, 3, 3, 3)),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_they_are_those_of_the_whole_gradient(name: str) -> None:
    forward, shape = FORWARDS[name]
    w = weight(*shape)
    total = forward(X, w).sum()
    (whole,) = torch.autograd.grad(total, [w], retain_graph=True)
    assert moving_weights(total, [("w", w)]) == ({"w"} if bool((whole != 0).any()) else set())


def test_every_part_of_a_computed_weight_counts() -> None:
    parts = {name: weight(10, 3, 3, 3) for name in ("first", "second")}
    total = F.conv2d(X, torch.cat([*parts.values()])).sum()
    assert moving_weights(total, [*parts.items()]) == {"first", "second"}


def test_values_upstream_have_their_whole_gradients() -> None:
    """A weight is found by what it owes to all channels downstream."""
    layers = nn.Conv2d(3, 20, 1), nn.Conv2d(20, 30, 1)
    total = layers[1](layers[0](X)).square().sum()
    first, second = layers[0].bias, layers[1].bias
    assert first is not None
    assert second is not None
    weights = [layers[0].weight, first, second]
    whole = torch.autograd.grad(total, weights, retain_graph=True)
    with FewChannels([layers[0].weight, layers[1].weight]):
        few = torch.autograd.grad(total, [*weights, layers[1].weight], retain_graph=True)
    assert torch.allclose(few[0][:8], whole[0][:8], rtol=1e-4)
    assert int(few[0][8:].count_nonzero()) == int(few[3][8:].count_nonzero()) == 0
    assert all(torch.equal(one, other) for one, other in zip(few[1:3], whole[1:], strict=True))


def test_it_can_be_asked_again() -> None:
    w = weight(20, 3, 3, 3)
    total = F.conv2d(X, w).sum()
    assert moving_weights(total, [("w", w)]) == moving_weights(total, [("w", w)]) == {"w"}
    assert moving_weights(total, [("w", w), ("other", weight(2))]) == {"w"}


def test_gradients_by_large_weights_are_let_go_of_one_by_one() -> None:
    layers = [nn.Linear(1024, 1024, bias=False) for _ in range(4)]
    seen: list[StorageReference] = []
    alive: list[int] = []

    def watch(slope: Tensor) -> None:
        alive.append(sum(before.is_alive() for before in seen))
        seen.append(StorageReference(slope.untyped_storage()))

    for layer in layers:
        layer.weight.register_hook(watch)
    y = torch.ones(1, 1024)
    for layer in layers:
        y = layer(y)
    weights = [(str(place), layer.weight) for place, layer in enumerate(layers)]
    assert moving_weights((y * 1).sum(), weights) == {"0", "1", "2", "3"}
    assert len(alive) == 4
    assert max(alive) <= 1, "one, while the next is computed"
    assert not any(slope.is_alive() for slope in seen)


@pytest.mark.parametrize("factor", [0.0, 1.0, float("nan")])
def test_a_large_weight_is_judged_by_its_whole_gradient(factor: float) -> None:
    w = weight(2048, 1024)
    only_last = (w[-1, -1] * factor).sum()
    assert moving_weights(only_last, [("w", w)]) == (set() if factor == 0 else {"w"})
    assert w._backward_hooks is None or not w._backward_hooks, "nothing is left on it"


def test_large_values_upstream_of_others_keep_their_gradients() -> None:
    w = weight(3)
    norm = w.repeat(2**19, 1)
    total = (norm * torch.tensor([0.0, 0.0, 1.0])).sum()
    assert moving_weights(total, [("norm", norm), ("w", w)]) == {"norm", "w"}

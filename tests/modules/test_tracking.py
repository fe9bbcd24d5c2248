from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite
from bnconvert.modules.surgery import inherit
from bnconvert.modules.tracking import TrackingNorm
from tests.test_every_norm import CHOICES, IMAGES
from tests.zoo import Net, norm_with, trained

CLASSES = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
POSITIONS = {2: (), 3: (7,), 4: (4, 3), 5: (2, 3, 2)}


def batch(samples: int = 6, dimensions: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, 5, *POSITIONS[dimensions], generator=generator) * 3 + 2


def tracking(plain: _BatchNorm) -> TrackingNorm:
    norm = inherit(plain, TrackingNorm, origin=type(plain), children_after=())
    vars(norm)["_buffers"] = {k: None if b is None else b.clone() for k, b in norm._buffers.items()}
    norm.init_state()
    return norm


@pytest.mark.parametrize("dimensions", CLASSES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": None},
        {"affine": False},
        {"bias": False},
        {"track_running_stats": False},
        {"eps": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [True, False])
def test_it_is_torchs_batch_norm(dimensions: int, settings: dict[str, Any], training: bool) -> None:
    plain = trained(norm_with(CLASSES[dimensions], **settings)).train(training)
    norm = tracking(plain)
    for seed in range(3):
        x = batch(dimensions=dimensions, seed=seed)
        assert torch.equal(norm(x), plain(x))
    torch.testing.assert_close(dict(norm.state_dict()), dict(plain.state_dict()))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_batch_with_an_overflow_is_counted_and_tracks_nothing(
    value: float, momentum: float | None
) -> None:
    norm = tracking(trained(nn.BatchNorm2d(5, momentum=momentum))).train()
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    x = batch()
    x[3, 2, 1, 1] = value
    norm(x)
    assert norm.skipped == 1
    for name, tensor in norm.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    norm(batch())
    assert norm.skipped == 1
    assert norm.num_batches_tracked == 101
    assert norm.get_buffer("running_var").isfinite().all()
    assert "skipped" not in norm.state_dict()


def test_an_empty_batch_tracks_nothing_and_has_gradients_of_zero() -> None:
    norm = tracking(trained(nn.BatchNorm2d(5))).train()
    norm(batch(0).requires_grad_()).sum().backward()
    assert norm.num_batches_tracked == 100
    assert norm.weight.grad is not None
    assert not norm.weight.grad.any()


def test_one_value_per_channel_is_refused_in_training() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        tracking(nn.BatchNorm1d(5)).train()(batch(1, 2))


def test_buffers_are_updated_in_place() -> None:
    norm = tracking(trained(nn.BatchNorm2d(5))).train()
    held = dict(norm.named_buffers())
    norm(batch())
    assert all(norm.get_buffer(name) is buffer for name, buffer in held.items())
    assert held["num_batches_tracked"] == 101


def test_an_eval_forward_keeps_its_gradient_when_a_training_forward_follows() -> None:
    """In torch the update changes, unnoticed, what the first forward saved."""
    plain = trained(nn.BatchNorm2d(5))
    (expected,) = torch.autograd.grad(plain(batch()).square().sum(), plain.weight)
    norm = tracking(plain)
    first = norm.eval()(batch()).square().sum()
    norm.train()(batch(seed=1))
    (mine,) = torch.autograd.grad(first, norm.weight)
    torch.testing.assert_close(mine, expected)
    first = plain.eval()(batch()).square().sum()
    plain.train()(batch(seed=1))
    (theirs,) = torch.autograd.grad(first, plain.weight)
    assert not torch.allclose(theirs, expected)  # what it would be without the copies


def test_bfloat16_input_and_bfloat16_norms_go_through() -> None:
    for norm, x in (
        (tracking(trained(nn.BatchNorm2d(5))), batch().bfloat16()),
        (tracking(trained(nn.BatchNorm2d(5)).bfloat16()), batch().bfloat16()),
    ):
        y = norm.train()(x)
        assert y.dtype is torch.bfloat16
        assert norm.num_batches_tracked == 101


def test_the_repr_shows_a_switch_that_is_set() -> None:
    norm = tracking(nn.BatchNorm2d(5))
    with bnc.update_statistics(norm, False), bnc.use_statistics(norm, "running"):
        assert "updates=False, statistics='running'" in repr(norm)
    assert "updates" not in repr(norm)


@pytest.mark.parametrize("assigns", [True, False], ids=["assign", "to_empty"])
@pytest.mark.parametrize("choice", [c for c in CHOICES if not isinstance(c, bnc.Frozen)], ids=repr)
def test_what_a_plain_checkpoint_does_not_fill_begins_anew(choice: Rewrite, assigns: bool) -> None:
    """A model is made on the meta device, converted, and loaded, as for sharding."""
    with torch.device("meta"):
        model = bnc.convert(Net(), choice)
    state = trained(Net()).state_dict()
    if not assigns:
        model.to_empty(device="cpu")
        for buffer in model.buffers():
            buffer.fill_(77)  # what happens to be in memory
    model.load_state_dict(state, assign=assigns)
    wanted = bnc.convert(trained(Net()), choice)
    found = dict(model.named_buffers())
    assert all(torch.equal(found[name], buffer) for name, buffer in wanted.named_buffers())
    model.train()(IMAGES)

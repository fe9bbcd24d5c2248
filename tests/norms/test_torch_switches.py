import torch
from torch import nn

from bnconvert.norms.torch_switches import PlainState, switched
from tests.zoo import trained


def test_the_own_buffers_wait_while_copies_take_the_update() -> None:
    norm = trained(nn.BatchNorm2d(3)).train()
    own = dict(norm.named_buffers())
    values = {name: buffer.clone() for name, buffer in own.items()}
    with switched(norm, updates=False):
        assert norm.running_mean is not own["running_mean"]
        assert torch.equal(norm.get_buffer("running_mean"), own["running_mean"])
        assert norm.momentum == 0.0
        norm(torch.randn(2, 3, 4, 4))
    assert (norm.momentum, norm.training) == (0.1, True)
    for name, buffer in own.items():
        assert norm.get_buffer(name) is buffer
        assert torch.equal(buffer, values[name])


def test_an_inner_switch_starts_from_the_norm_without_any() -> None:
    norm = trained(nn.BatchNorm2d(3)).train()
    own = norm.running_mean
    with switched(norm, statistics="running"):
        assert not norm.training
        with switched(norm, statistics="batch"):
            assert norm.training
            assert norm.running_mean is own
        assert not norm.training
    assert norm.training


def test_a_state_is_read_from_a_norm_once() -> None:
    norm = trained(nn.BatchNorm2d(3)).train()
    with switched(norm, updates=False):
        state = PlainState.of(norm)
        assert (state.training, state.momentum, state.updates) == (True, 0.1, False)
    assert vars(norm).keys() == vars(nn.BatchNorm2d(3)).keys()


def test_contexts_that_do_not_end_in_order_leave_the_norm_as_it_was() -> None:
    norm = trained(nn.BatchNorm2d(3)).train()
    own = norm.running_mean
    first, second = switched(norm, updates=False), switched(norm, statistics="running")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not norm.training
    second.__exit__(None, None, None)
    assert (norm.training, norm.momentum, norm.running_mean is own) == (True, 0.1, True)

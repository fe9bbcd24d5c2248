from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnconvert.torch_private.module_hooks import (
    drop_hooks,
    forward_pre_hooks,
    remove_forward_hooks,
    share_forward_hooks,
)


class Log:
    """A hook of any kind, which counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: Any) -> None:
        self.calls += 1


@pytest.fixture
def module() -> nn.Module:
    return nn.ReLU()


def test_hooks_before_a_forward_are_listed_in_their_order(module: nn.Module) -> None:
    first, second = Log(), Log()
    module.register_forward_pre_hook(second)
    module.register_forward_hook(Log())
    module.register_forward_pre_hook(first, prepend=True)
    assert forward_pre_hooks(module) == (first, second)


def test_those_that_are_meant_are_removed_before_and_after(module: nn.Module) -> None:
    kept, before, after = Log(), Log(), Log()
    module.register_forward_pre_hook(kept)
    module.register_forward_pre_hook(before, with_kwargs=True)
    module.register_forward_hook(after, always_call=True)
    remove_forward_hooks(module, lambda hook: hook in (before, after))
    module(torch.ones(1))
    assert (kept.calls, before.calls, after.calls) == (1, 0, 0)
    module.register_forward_hook(after)
    assert not module._forward_hooks_always_called  # no trace of the removed one
    assert not module._forward_pre_hooks_with_kwargs


def test_shared_hooks_are_called_as_they_were_registered(module: nn.Module) -> None:
    seen: list[dict[str, Any]] = []

    class Scale(nn.Module):
        def forward(self, x: Tensor, *, by: float) -> Tensor:
            return x * by

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(kwargs)

    def after(_: nn.Module, args: Any, kwargs: dict[str, Any], y: Tensor) -> Tensor:
        shifted: Tensor = y + kwargs["by"]
        return shifted

    source, target = Scale(), Scale()
    source.register_forward_pre_hook(before, with_kwargs=True)
    handle = source.register_forward_hook(after, with_kwargs=True)
    share_forward_hooks(source, target)
    assert target(torch.ones(1), by=3.0) == 6
    assert seen == [{"by": 3.0}]
    handle.remove()
    assert target(torch.ones(1), by=3.0) == 3


def test_without_hooks_a_module_is_as_new_and_others_keep_theirs(module: nn.Module) -> None:
    forward, backward = Log(), Log()
    other = nn.ReLU()
    module.register_forward_hook(forward, always_call=True)
    module.register_full_backward_hook(backward)
    share_forward_hooks(module, other)
    drop_hooks(module)
    module(torch.ones(1, requires_grad=True)).backward()
    assert (forward.calls, backward.calls) == (0, 0)
    other(torch.ones(1))
    assert forward.calls == 1
    module.register_full_backward_hook(backward)
    module(torch.ones(1, requires_grad=True)).backward()
    assert backward.calls == 1

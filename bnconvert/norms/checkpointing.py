"""Gradient checkpointing: a recomputed forward does what the forward did, and updates nothing."""

from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any

from torch import nn

from bnconvert.modules.tracking import TrackingNorm
from bnconvert.norms.switches import update_statistics


def checkpoint_contexts(
    model: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Let a checkpointed part of `model` update its statistics once, and be recomputed exactly.

    `checkpoint(block, x, use_reentrant=False, context_fn=lambda: checkpoint_contexts(model))`,
    or with `functools.partial`. The recomputation in the backward pass updates nothing, and
    normalizes with the domain, the position among a norm's calls, the correction (of Renorm) and
    the reference's moments (of Virtual) of the forward, though all of these may have changed since.

    Args:
        model: the whole model or the checkpointed part.

    Returns:
        The contexts of the forward and of its recomputation, as torch's `context_fn` does.

    Examples:
        >>> from torch.utils.checkpoint import checkpoint
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        >>> contexts = lambda: bnc.checkpoint_contexts(net)
        >>> y = checkpoint(net, torch.randn(8, 4), use_reentrant=False, context_fn=contexts)
        >>> y.sum().backward()
        >>> net[1].num_batches_tracked  # 2 without the contexts
        tensor(1)
    """
    state: RecomputationState = {}
    return _OriginalForward(model, state), _RecomputedForward(model, state)


#: By norm, the attributes on which its forward depends beside its input.
RecomputationState = dict[TrackingNorm, dict[str, Any]]


class _OriginalForward(AbstractContextManager[None]):
    """Around a checkpointed forward: record what it depends on."""

    def __init__(self, model: nn.Module, state: RecomputationState) -> None:
        self.model, self.state = model, state

    def __enter__(self) -> None:
        for module in self.model.modules():
            if isinstance(module, TrackingNorm):
                self.state[module] = module.start_recording()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for norm in self.state:
            norm.stop_recording()


class _RecomputedForward(AbstractContextManager[None]):
    """Around a recomputation; entered anew by each backward pass that needs one."""

    def __init__(self, model: nn.Module, state: RecomputationState) -> None:
        self.model, self.state, self.stack = model, state, ExitStack()

    def __enter__(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(update_statistics(self.model, False))
            for norm, recorded in self.state.items():
                stack.enter_context(norm.replaying(recorded))
            self.stack = stack.pop_all()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stack.close()

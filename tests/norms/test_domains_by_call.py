"""A norm that is called several times, with statistics of their own for each call."""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import bnconvert as bnc
from bnconvert.norms.separate_norm import SeparateNorm
from tests.submodules import submodule
from tests.zoo import NormCalledTwice, build, trained


def test_calls_have_statistics_of_their_own() -> None:
    shared = trained(NormCalledTwice()).double()
    model = bnc.convert(shared, bnc.Separate(domains="calls")).train()
    twins = [copy.deepcopy(shared.norm).train() for _ in range(2)]
    for step in range(3):
        x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(step)).double()
        first, second = twins[0](shared.conv1(x)), twins[1](shared.conv2(x))
        torch.testing.assert_close(model(x), first - second.relu())
    for name, twin in zip(("0", "1"), twins, strict=True):
        reverted = bnc.revert(model, domain=name)
        torch.testing.assert_close(reverted.get_buffer("norm.running_var"), twin.running_var)


class Failing(NormCalledTwice):
    """Fails between the calls, when it is told to."""

    fails = False

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv1(x))
        if self.fails:
            raise RuntimeError("out of memory")
        output: Tensor = y - self.norm(self.conv2(x))
        return output


def test_an_exception_between_the_calls_shifts_nothing() -> None:
    converted = bnc.convert(trained(Failing()).double(), bnc.Separate(domains="calls"))
    model = submodule(converted, "", Failing)
    x = torch.randn(4, 3, 5, 5).double()
    expected = model(x)
    model.fails = True
    with pytest.raises(RuntimeError, match="out of memory"):
        model(x)
    assert submodule(model, "norm", SeparateNorm).position is None
    model.fails = False
    assert torch.equal(model(x), expected)


class CheckpointedCalls(NormCalledTwice):
    """Checkpoints both calls, with or without the contexts."""

    contexts = False
    reentrant = False

    def forward(self, x: Tensor) -> Tensor:
        again = partial(checkpoint, self.norm, use_reentrant=self.reentrant)
        if self.contexts:
            again = partial(again, context_fn=lambda: bnc.checkpoint_contexts(self))
        y, z = again(self.conv1(x)), again(self.conv2(x))
        output: Tensor = y - z.relu()
        return output


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_call_is_an_error_or_right_but_never_shifted(reentrant: bool) -> None:
    torch.manual_seed(0)
    plain_model = trained(NormCalledTwice()).double()
    torch.manual_seed(0)
    checkpointed = trained(CheckpointedCalls()).double()
    policy = bnc.Separate(domains="calls")
    model = submodule(bnc.convert(checkpointed, policy, inplace=True), "", CheckpointedCalls)
    reference = bnc.convert(plain_model, policy, inplace=True).train()
    model.train()
    model.reentrant = reentrant
    x = torch.randn(4, 3, 5, 5).double()
    with pytest.raises(RuntimeError, match="called outside of the converted model's forward"):
        model(x).square().sum().backward()
    model.load_state_dict(reference.state_dict())
    if not reentrant:
        model.contexts = True
        for net in (model, reference):
            net.zero_grad()
            net(x).square().sum().backward()
        for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad)
        torch.testing.assert_close(dict(model.state_dict()), dict(reference.state_dict()))


def test_a_call_too_many_and_a_call_outside_are_errors() -> None:
    model = bnc.convert(trained(NormCalledTwice()), bnc.Separate(domains="calls"))
    norm = submodule(model, "norm", SeparateNorm)
    with pytest.raises(RuntimeError, match="outside of the converted model's forward, where its"):
        norm(torch.randn(2, 8, 3, 3))
    norm.position = 2
    with pytest.raises(RuntimeError, match="converted for 2 calls is called once more"):
        norm(torch.randn(2, 8, 3, 3))


def test_revert_takes_the_counting_hooks_away_and_domains_need_none() -> None:
    model = bnc.convert(trained(NormCalledTwice()), bnc.Separate(domains="calls"))
    assert len(model._forward_pre_hooks) == len(model._forward_hooks) == 1
    by_domain = bnc.convert(trained(NormCalledTwice()), bnc.Separate())
    for uncounted in (bnc.revert(model), by_domain):
        assert not uncounted._forward_pre_hooks
        assert not uncounted._forward_hooks


def test_calls_that_are_hidden_from_the_trace_are_refused() -> None:
    model, _ = build("branch_in_child")
    policy = bnc.Policy({"closed.*": bnc.Separate(domains="calls")})
    with pytest.raises(bnc.RefusedError, match="its calls are hidden from the trace, so that"):
        bnc.convert(model, policy)

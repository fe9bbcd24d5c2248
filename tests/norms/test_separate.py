import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError, checkpoint

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite
from bnconvert.norms.separate_norm import SeparateNorm
from bnconvert.numerics.blocks import Blocks
from tests.submodules import submodule
from tests.zoo import Net, NormCalledTwice, build, trained

CLASSES = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
POSITIONS = {2: (), 3: (7,), 4: (4, 3), 5: (2, 3, 2)}
EACH = [bnc.Keep(), bnc.Ghost(2), bnc.Renorm(), bnc.Sync()]
LABELS = [[0, 0, 0, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0, 1], [1, 1, 1, 1, 0, 0, 0]]
DOMAINS = ("source", "target")


def batch(samples: int = 7, dimensions: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 5, *POSITIONS[dimensions], generator=generator, dtype=torch.float64)
    return x * 3 + 2 + seed


def plain(dimensions: int = 4) -> nn.Module:
    return trained(CLASSES[dimensions](5)).double().train()


def separate(norm: nn.Module | None = None, **settings: Any) -> SeparateNorm:
    converted = bnc.convert(plain() if norm is None else norm, bnc.Separate(**settings))
    return submodule(converted, "", SeparateNorm).train()


def alone(norm: nn.Module, each: Rewrite) -> nn.Module:
    """One domain's norm, by itself."""
    return bnc.convert(norm, each).train()


@pytest.mark.parametrize("each", EACH, ids=repr)
def test_each_domain_is_a_norm_of_its_own(each: bnc.Keep) -> None:
    norm, single = separate(each=each), {name: alone(plain(), each) for name in DOMAINS}
    for step, name in enumerate(["source", "target", "target", "source", "target"]):
        x = batch(seed=step)
        with bnc.domain(norm, name):
            torch.testing.assert_close(norm(x), single[name](x))
    assert [single[name].num_batches_tracked for name in DOMAINS] == [102, 103]
    for name in DOMAINS:
        reverted: nn.Module = bnc.revert(norm, domain=name)
        assert type(reverted) is nn.BatchNorm2d
        for key, buffer in bnc.revert(single[name]).state_dict().items():
            torch.testing.assert_close(reverted.state_dict()[key], buffer)


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


def test_shared_affine_learns_from_all_and_separate_affine_apart() -> None:
    for affine in ("shared", "separate"):
        norm = separate(affine=affine)
        names = [name for name, _ in norm.named_parameters()]
        inner = [f"bnconvert.domains.target.{name}" for name in ("weight", "bias")]
        assert names == ["weight", "bias", *(inner if affine == "separate" else [])]
        with bnc.domain(norm, "target"):
            norm(batch()).square().sum().backward()
        touched = [name for name, p in norm.named_parameters() if p.grad is not None]
        assert touched == (inner if affine == "separate" else ["weight", "bias"])


def test_one_domain_is_batch_norm() -> None:
    reference, norm = plain(), separate(domains=("only",))
    x = batch()
    assert torch.equal(norm(x), reference(x))
    torch.testing.assert_close(norm.state_dict(), dict(reference.state_dict()))


def test_without_a_choice_it_is_the_first_domain() -> None:
    norm, reference = separate(), plain()
    assert torch.equal(norm(batch()), reference(batch()))
    torch.testing.assert_close(bnc.revert(norm).running_mean, reference.running_mean)


def test_an_auxiliary_set_for_adversarial_examples_leaves_the_main_one_alone() -> None:
    norm = separate(domains=("clean", "adversarial"))
    before = norm.get_buffer("running_mean").clone()
    with bnc.domain(norm, "adversarial"):
        norm(batch() + 9)
    assert torch.equal(norm.get_buffer("running_mean"), before)


def test_an_unknown_domain_and_wrong_labels_are_errors() -> None:
    norm = separate()
    with (
        pytest.raises(bnc.UnsupportedModelError, match="no domain 'night'; use one of source, tar"),
        bnc.domain(norm, "night"),
    ):
        pass
    for labels, said in (
        (torch.tensor([0, 2]), "labels go from 0 to 2; give positions from 0 to 1"),
        (torch.tensor([0.0, 1.0]), "give a LongTensor with one position"),
        (torch.tensor([[0, 1]]), "give a LongTensor with one position"),
    ):
        with pytest.raises(ValueError, match=said), bnc.domain(norm, labels):
            pass
    with (
        bnc.domain(norm, torch.tensor([0, 1])),
        pytest.raises(ValueError, match="has 7 samples and the domain labels 2; give one label"),
    ):
        norm(batch())
    with (
        pytest.raises(bnc.UnsupportedModelError, match="no norm of the model has domains"),
        bnc.domain(plain(), "source"),
    ):
        pass


def test_nested_contexts_and_exceptions_do_not_shift_the_domain() -> None:
    norm = separate()
    with bnc.domain(norm, "target"):
        with pytest.raises(KeyError), bnc.domain(norm, "source"):
            raise KeyError
        assert norm.active == "target"
    assert norm.active is None


def test_a_plain_checkpoint_fills_every_domain() -> None:
    for affine in ("shared", "separate"):
        norm, other = separate(affine=affine), trained(nn.BatchNorm2d(5), seed=9).double()
        norm.load_state_dict(other.state_dict())
        for name in DOMAINS:
            reverted = bnc.revert(norm, domain=name)
            for key, value in other.state_dict().items():
                assert torch.equal(reverted.state_dict()[key], value)


def test_its_own_checkpoint_keeps_the_domains_apart() -> None:
    norm, twin = separate(), separate()
    with bnc.domain(norm, "target"):
        norm(batch())
    twin.load_state_dict(norm.state_dict())
    torch.testing.assert_close(dict(twin.state_dict()), dict(norm.state_dict()))
    state = norm.state_dict()
    del state["bnconvert.domains.target.running_var"]
    with pytest.raises(RuntimeError, match=r"Missing key.*domains\.target\.running_var"):
        twin.load_state_dict(state)


def test_a_domain_may_be_named_like_a_method_of_modules() -> None:
    norm = separate(domains=("train", "eval", "weight"))
    with bnc.domain(norm, "eval"):
        norm(batch())
    assert norm.train(False).training is False
    copy.deepcopy(norm).load_state_dict(norm.state_dict())


def test_the_statistics_of_domains_are_not_dropped_by_another_rewrite() -> None:
    norm = separate()
    with pytest.raises(bnc.RefusedError, match="holds the statistics of source, target, of which"):
        bnc.convert(norm, bnc.Ghost())
    assert type(bnc.convert(norm, bnc.Keep())) is type(norm)
    assert bnc.plan(norm, bnc.Separate()).refusals == ()


def test_export_and_fold_take_the_active_domain() -> None:
    model = bnc.convert(trained(Net()).double(), bnc.Separate()).train()
    with bnc.domain(model, "target"):
        model(torch.randn(4, 3, 6, 6).double() + 3)
    x = torch.randn(2, 3, 6, 6).double()
    model.eval()
    for name in DOMAINS:
        with bnc.domain(model, name):
            folded = bnc.fold(model, (x,))
            torch.testing.assert_close(folded.module(x), model(x))
        assert folded.report.count("folded") == 1


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_recomputation_in_another_domain_is_an_error(reentrant: bool) -> None:
    norm = separate()
    with bnc.domain(norm, "target"):
        y = checkpoint(norm, batch().requires_grad_(), use_reentrant=reentrant)
    error = RuntimeError if reentrant else CheckpointError
    with pytest.raises(error):
        y.sum().backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_recomputation_inside_the_context_has_its_domain(reentrant: bool) -> None:
    norm, reference = separate(), plain()
    x, gradient = batch().requires_grad_(), torch.randn(7, 5, 4, 3).double()
    with bnc.domain(norm, "target"):
        y = checkpoint(norm, x, use_reentrant=reentrant)
        with bnc.update_statistics(norm, False):
            y.backward(gradient)
    (expected,) = torch.autograd.grad(reference(x), x, gradient)
    torch.testing.assert_close(x.grad, expected)
    torch.testing.assert_close(
        bnc.revert(norm, domain="target").get_buffer("running_var"),
        reference.get_buffer("running_var"),
    )
    assert torch.equal(
        bnc.revert(norm).get_buffer("running_var"), plain().get_buffer("running_var")
    )


def test_the_checkpoint_contexts_bring_the_domain_back() -> None:
    norm, reference = separate(), plain()
    x = batch().requires_grad_()
    with bnc.domain(norm, "target"):
        y = checkpoint(
            norm, x, use_reentrant=False, context_fn=lambda: bnc.checkpoint_contexts(norm)
        )
    y.square().sum().backward()
    (expected,) = torch.autograd.grad(reference(x).square().sum(), x)
    torch.testing.assert_close(x.grad, expected)
    torch.testing.assert_close(
        bnc.revert(norm, domain="target").get_buffer("running_var"),
        reference.get_buffer("running_var"),
    )
    assert norm.active is None


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


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"domains": "source"}, "domains is the string 'source'; use a tuple of names"),
        ({"domains": ("a", "a")}, "use different names without a dot"),
        ({"domains": ("a.b",)}, "use different names without a dot"),
        ({"domains": ()}, "use different names without a dot"),
        ({"domains": ("", "a")}, "use different names without a dot"),
        ({"affine": "both"}, 'use affine="shared" or affine="separate"'),
        ({"each": bnc.Group()}, r"each is Group\(groups=32\); use one of Keep\(\), Ghost\(\)"),
        ({"each": bnc.Separate()}, "use one of Keep"),
    ],
)
def test_combinations_that_make_no_sense_are_refused_when_they_are_built(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        bnc.Separate(**settings)


def test_a_norm_without_statistics_is_refused_and_the_repr_shows_the_domains() -> None:
    with pytest.raises(bnc.RefusedError, match="has no running statistics to separate"):
        bnc.convert(nn.BatchNorm2d(3, track_running_stats=False), bnc.Separate())
    assert "domains=('source', 'target'), affine='shared'" in repr(separate())


def test_a_list_of_domains_is_the_same_choice_as_a_tuple() -> None:
    listed: Any = ["a", "b"]
    assert bnc.Separate(listed) == bnc.Separate(("a", "b"))
    assert hash(bnc.Separate(listed)) == hash(bnc.Separate(("a", "b")))

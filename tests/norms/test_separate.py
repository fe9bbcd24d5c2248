import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import CheckpointError, checkpoint

import bnconvert as bnc
from tests.norms.domains import DOMAINS, EACH, alone, batch, plain, separate
from tests.zoo import Net, trained


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


def test_domains_that_a_plain_checkpoint_fills_share_no_tensor() -> None:
    """Also where its tensors are not copied but put into the norm."""
    plain = trained(nn.BatchNorm2d(3))
    for norm in (
        bnc.convert(nn.BatchNorm2d(3), bnc.Separate(("day", "night"), affine="separate")),
        bnc.convert(nn.BatchNorm2d(3), bnc.Adaptive(over="stream")),
    ):
        norm.load_state_dict(plain.state_dict(), assign=True)
        tensors = [*norm.parameters(), *norm.buffers()]
        assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors)


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

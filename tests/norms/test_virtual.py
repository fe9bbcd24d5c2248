import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

import bnconvert as bnc
from bnconvert.modules.site import sites_in
from bnconvert.norms.virtual_norm import ReferencePass, VirtualNorm
from tests.submodules import submodule
from tests.zoo import Net, Residual, trained


def images(samples: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, 3, 6, 5, generator=generator, dtype=torch.float64) * 2 + seed


REFERENCE = images(7, 1)


def virtual(**settings: bool) -> VirtualNorm:
    plain = trained(nn.BatchNorm2d(3)).double()
    converted = bnc.convert(plain, bnc.Virtual(REFERENCE, **settings))
    return submodule(converted, "", VirtualNorm).train()


def test_the_moments_are_those_of_the_batch_and_the_reference_together() -> None:
    norm, x = virtual(), images(2).requires_grad_()
    mean, var = norm.get_buffer("running_mean").clone(), norm.get_buffer("running_var").clone()
    together = torch.cat([x, REFERENCE])
    plain = trained(nn.BatchNorm2d(3)).double().train()
    expected = plain(together)[:2]
    y = norm(x)
    torch.testing.assert_close(y, expected)
    for name, before in (("running_mean", mean), ("running_var", var)):
        assert not torch.equal(norm.get_buffer(name), before)
        torch.testing.assert_close(norm.get_buffer(name), plain.get_buffer(name))
    assert norm.num_batches_tracked == 101


def test_no_gradient_flows_through_the_reference_but_all_of_it_through_the_samples() -> None:
    norm, x = virtual(), images(2).requires_grad_()
    gradient = torch.randn_like(x)
    together = torch.cat([x, REFERENCE.clone()])
    plain = trained(nn.BatchNorm2d(3)).double().train()
    theirs = torch.autograd.grad(plain(together)[:2], [x, plain.weight, plain.bias], gradient)
    mine = torch.autograd.grad(norm(x), [x, norm.weight, norm.bias], gradient)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_a_reference_that_needs_a_gradient_gets_none() -> None:
    leaf = images(4, 2).requires_grad_()
    norm = bnc.convert(nn.BatchNorm2d(3).double(), bnc.Virtual(leaf)).train()
    norm(images(2)).sum().backward()
    assert leaf.grad is None


def test_the_reference_runs_through_the_network_to_every_norm() -> None:
    net = trained(Net()).double()
    model = bnc.convert(net, bnc.Virtual(REFERENCE)).train()
    x = images(2)
    model(x)
    seen: Tensor = net.conv(REFERENCE)
    state = model.state_dict()
    torch.testing.assert_close(state["norm.bnconvert.mean"], seen.mean((0, 2, 3)))
    torch.testing.assert_close(state["norm.bnconvert.var"], seen.var((0, 2, 3), unbiased=False))
    assert state["norm.bnconvert.count"] == 7 * 30


def test_alone_with_the_reference_a_sample_does_not_depend_on_the_rest_of_its_batch() -> None:
    norm = virtual(per_sample=True)
    x, others = images(3), images(3, 5)
    mixed = torch.cat([x[:1], others])
    torch.testing.assert_close(norm(x)[0], norm(mixed)[0])
    torch.testing.assert_close(norm(x)[0], norm(x[:1])[0])


def test_alone_with_the_reference_the_weights_are_n_ref_and_1_in_n_ref_plus_1() -> None:
    norm, x = virtual(per_sample=True), images(2)
    y = norm(x)
    for row in range(2):
        share = 1 / 8
        first = share * x[row].mean((1, 2)) + (1 - share) * REFERENCE.mean((0, 2, 3))
        second = share * x[row].square().mean((1, 2)) + (1 - share) * REFERENCE.square().mean(
            (0, 2, 3)
        )
        sigma = (second - first.square() + norm.eps).sqrt()
        expected = (x[row] - first[:, None, None]) / sigma[:, None, None]
        expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
        torch.testing.assert_close(y[row], expected)


def test_the_reference_statistics_are_saved_and_eval_is_batch_norm() -> None:
    plain = trained(nn.BatchNorm2d(3)).double()
    norm = bnc.convert(plain, bnc.Virtual(REFERENCE))
    assert torch.equal(norm(images(2)), plain(images(2)))
    norm.train()(images(2))
    twin = bnc.convert(plain, bnc.Virtual(REFERENCE))
    twin.load_state_dict(norm.state_dict())
    torch.testing.assert_close(twin.state_dict()["bnconvert.mean"], REFERENCE.mean((0, 2, 3)))
    kept = twin.state_dict()["bnconvert.mean"].clone()
    twin.load_state_dict(plain.state_dict())
    assert torch.equal(twin.state_dict()["bnconvert.mean"], kept)


def test_the_reference_pass_moves_no_other_statistics_and_no_random_numbers() -> None:
    plain = trained(Residual()).double().train()
    model = bnc.convert(plain, bnc.Policy({"bn2": bnc.Virtual(REFERENCE)}))
    x = images(2)
    drawn = []
    for net in (model, plain):
        torch.manual_seed(0)
        net(x)
        drawn.append(torch.get_rng_state())
    assert torch.equal(*drawn), "the dropout of the reference pass took some"
    assert (
        model.get_buffer("bn1.num_batches_tracked")
        == plain.get_buffer("bn1.num_batches_tracked")
        == 101
    )
    assert torch.equal(model.get_buffer("bn1.running_mean"), plain.get_buffer("bn1.running_mean"))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    submodule(model, "drop", nn.Dropout).p = 0.0
    model(x)
    model.eval()(x)
    assert torch.equal(torch.get_rng_state(), before)


def references(model: nn.Module) -> list[tuple[Tensor, ...]]:
    hooks = model._forward_pre_hooks.values()
    return [hook.reference.tensors for hook in hooks if isinstance(hook, ReferencePass)]


def test_copies_and_pickles_have_the_reference_and_revert_takes_it_away() -> None:
    model = bnc.convert(trained(Net()).double(), bnc.Virtual(REFERENCE)).train()
    x = images(2)
    expected = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other(x), expected)
    assert references(bnc.revert(model)) == []
    again = bnc.convert(model, bnc.Virtual(images(3)))
    assert len(again._forward_pre_hooks) == 1
    assert [len(reference[0]) for reference in references(again)] == [3]


def test_the_models_own_hooks_find_the_references_moments() -> None:
    net, found = trained(Net()).double(), list[int]()
    net.register_forward_pre_hook(
        lambda model, _: found.append(int(model.get_buffer("norm.bnconvert.count")))
    )
    model = bnc.convert(net, bnc.Virtual(REFERENCE)).train()
    model(images(2))
    assert found == [7 * 30]


def test_one_buffer_cannot_hold_the_references_moments_in_several_models() -> None:
    model = bnc.convert(trained(Net()).double(), bnc.Virtual(REFERENCE)).train()
    twice = {name: torch.stack([p, 2 * p]).detach() for name, p in model.named_parameters()}

    def outputs(parameters: dict[str, Tensor]) -> Tensor:
        return functional_call(model, parameters, (images(2),))  # type: ignore[no-any-return]

    with pytest.raises(RuntimeError, match="updates mean, var, count, which are none of"):
        vmap(outputs, randomness="same")(twice)


def test_a_failing_reference_leaves_the_norms_as_they_were() -> None:
    model = bnc.convert(trained(Net()).double(), bnc.Virtual(torch.zeros(2, 5))).train()
    with pytest.raises(RuntimeError):
        model(images(2))
    assert submodule(model, "norm", VirtualNorm).phase != "recording"


def test_a_norm_that_is_called_before_its_reference_ran_says_so() -> None:
    model = bnc.convert(trained(Net()).double(), bnc.Virtual(REFERENCE)).train()
    with pytest.raises(RuntimeError, match="before its reference batch ran; call the converted"):
        model.get_submodule("norm")(torch.zeros(2, 8, 3, 3).double())


def test_what_is_no_batch_is_refused_and_the_repr_shows_shapes() -> None:
    empty = torch.zeros(0, 3)
    for wrong in (torch.tensor(1.0), empty, (), "images", (REFERENCE, empty)):
        with pytest.raises(ValueError, match="reference is not a batch; give a tensor"):
            bnc.Virtual(wrong)  # type: ignore[arg-type]
    assert repr(bnc.Virtual(REFERENCE, per_sample=True)) == "Virtual(<7x3x6x5>, per_sample=True)"
    assert "reference=(7, 3, 6, 5)" in repr(virtual())


def test_it_is_done_where_all_of_the_reference_is_the_same() -> None:
    (site,) = sites_in(bnc.convert(trained(nn.BatchNorm2d(3)).double(), bnc.Virtual(REFERENCE)))
    assert bnc.Virtual(REFERENCE.clone()).is_already_done(site)
    for other in (REFERENCE + 1, (REFERENCE, REFERENCE)):
        assert not bnc.Virtual(other).is_already_done(site)
    assert not bnc.Virtual(REFERENCE, per_sample=True).is_already_done(site)

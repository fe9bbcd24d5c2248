import copy
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite
from tests.zoo import Net, build, trained

#: Every norm whose training forward updates running statistics; None is plain torch.
POLICIES: list[Rewrite | None] = [
    None,
    bnc.Sync(),
    bnc.Ghost(2),
    bnc.Renorm(),
    bnc.Separate(),
    bnc.Separate(each=bnc.Ghost(2)),
    bnc.Adaptive(),
    bnc.Virtual(torch.randn(5, 3, 4, 4)),
]
X = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 + 1


@pytest.fixture(params=POLICIES, ids=repr)
def norm(request: pytest.FixtureRequest) -> nn.Module:
    plain = trained(nn.BatchNorm2d(3))
    return (plain if request.param is None else bnc.convert(plain, request.param)).train()


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def tracked(model: nn.Module) -> dict[str, Tensor]:
    """Return what a switch must protect: not the reference's moments, which follow the weights."""
    return {name: buffer for name, buffer in state(model).items() if "bnconvert" not in name}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_without_updates_the_output_is_the_same_and_nothing_moves(norm: nn.Module) -> None:
    expected = copy.deepcopy(norm)(X)
    before, objects = tracked(norm), dict(norm.named_buffers())
    with bnc.update_statistics(norm, False):
        assert torch.equal(norm(X), expected)
        assert torch.equal(norm(X), expected)
    assert same(tracked(norm), before)
    assert all(norm.get_buffer(name) is buffer for name, buffer in objects.items())
    norm(X)
    assert norm.num_batches_tracked == 101


def test_a_broken_batch_without_updates_poisons_nothing(norm: nn.Module) -> None:
    before = tracked(norm)
    with bnc.update_statistics(norm, False):
        norm(torch.full_like(X, torch.inf))
    assert same(tracked(norm), before)


def test_running_statistics_in_training_are_evals_and_nothing_moves(norm: nn.Module) -> None:
    plain = bnc.revert(norm).eval()
    before = state(norm)
    with bnc.use_statistics(norm, "running"):
        assert torch.equal(norm(X), plain(X))
        norm.eval()
        assert torch.equal(norm(X), plain(X))
    assert same(state(norm), before)


def test_batch_statistics_in_eval_are_the_batchs_and_nothing_moves(norm: nn.Module) -> None:
    plain = bnc.revert(norm).train()
    before = state(norm.eval())
    with bnc.use_statistics(norm, "batch"):
        assert torch.equal(norm(X), plain(X))
    assert same(state(norm), before)
    assert not norm.training


def test_contexts_nest_and_are_undone_on_exceptions(norm: nn.Module) -> None:
    before = tracked(norm)
    settings = vars(norm).keys()
    with bnc.update_statistics(norm, False):
        with pytest.raises(KeyError), bnc.use_statistics(norm, "running"):
            raise KeyError
        norm(X)
        assert same(tracked(norm), before) or type(norm) is nn.BatchNorm2d
    assert same(tracked(norm), before)
    with bnc.update_statistics(norm, False), bnc.update_statistics(norm, True):
        norm(X)
    assert norm.num_batches_tracked == 101
    with bnc.use_statistics(norm, "running"), bnc.use_statistics(norm, "batch"):
        norm(X)
    assert norm.num_batches_tracked == 102
    assert norm.training
    assert set(vars(norm)) - set(settings) <= {"updates", "statistics"}


def test_a_forward_with_running_statistics_keeps_its_gradient(norm: nn.Module) -> None:
    """The GAN's step: the fake batch by running statistics, then the real one, then backward."""
    with bnc.use_statistics(norm, "running"):
        (expected,) = torch.autograd.grad(norm(X).square().sum(), norm.get_parameter("weight"))
        fake = norm(X).square().sum()
    norm(X * 2)
    (mine,) = torch.autograd.grad(fake, norm.get_parameter("weight"))
    torch.testing.assert_close(mine, expected)


def test_frozen_norms_are_not_affected() -> None:
    model, inputs = build("plain")
    frozen = bnc.convert(model, bnc.Frozen()).train()
    expected, before = frozen(*inputs), state(frozen)
    for switch in (
        bnc.update_statistics(frozen, True),
        bnc.use_statistics(frozen, "batch"),
        bnc.use_statistics(frozen, "running"),
    ):
        with switch:
            assert torch.equal(frozen(*inputs), expected)
    assert same(state(frozen), before)


def test_running_statistics_that_do_not_exist_are_refused_before_anything_changes() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False)).train()
    with (
        pytest.raises(bnc.UnsupportedModelError, match="1: no running statistics to use; use_st"),
        bnc.use_statistics(model, "running"),
    ):
        pass
    assert model[0].training
    with bnc.use_statistics(model.eval(), "batch"), bnc.update_statistics(model, False):
        model(X)


def test_other_statistics_are_refused() -> None:
    with (
        pytest.raises(ValueError, match='statistics is \'ema\'; use "running" or "batch"'),
        bnc.use_statistics(Net(), "ema"),  # type: ignore[arg-type]
    ):
        pass


@pytest.mark.parametrize("policy", [None, bnc.Ghost(2), bnc.Renorm()], ids=repr)
def test_switches_reach_into_a_compiled_model(policy: Rewrite | None) -> None:
    plain = trained(nn.BatchNorm2d(3))
    norm = (plain if policy is None else bnc.convert(plain, policy)).train()
    torch.compiler.reset()  # what other tests compiled counts against a limit
    compiled = torch.compile(norm, fullgraph=True, backend="eager")
    compiled(X)
    before = state(norm)
    with bnc.update_statistics(norm, False):
        torch.testing.assert_close(compiled(X), copy.deepcopy(norm)(X))
        assert same(state(norm), before) or policy is None
    assert same(state(norm), before)
    with bnc.use_statistics(norm, "running"):
        torch.testing.assert_close(compiled(X), bnc.revert(norm).eval()(X))
    compiled(X)
    assert norm.num_batches_tracked == 102


def test_norms_of_other_packages_that_are_batch_norms_are_switched_too() -> None:
    layers = pytest.importorskip("timm.layers")
    norm = trained(layers.BatchNormAct2d(3)).train()
    before = state(norm)
    with bnc.update_statistics(norm, False):
        norm(X)
    assert same(state(norm), before)


def test_a_cumulative_momentum_is_put_back() -> None:
    norm = nn.BatchNorm2d(3, momentum=None)
    with bnc.update_statistics(norm, False):
        norm(X)
    assert norm.momentum is None
    norm(X)
    torch.testing.assert_close(norm.running_mean, X.mean((0, 2, 3)))


def test_resetting_a_model_without_a_stream_does_nothing() -> None:
    class Resettable(Net):
        def reset(self) -> None:
            raise AssertionError("a model's own method is its own")

    model = trained(Resettable())
    before = state(model)
    bnc.reset_stream(model)
    assert same(state(model), before)


SWITCHES: list[Callable[[nn.Module], AbstractContextManager[None]]] = [
    lambda model: bnc.update_statistics(model, False),
    lambda model: bnc.use_statistics(model, "running"),
    lambda model: bnc.use_statistics(model, "batch"),
]


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda norm: pickle.loads(pickle.dumps(norm)),
        lambda norm: bnc.convert(norm, bnc.Keep()),
    ],
    ids=["deepcopy", "pickle", "convert"],
)
def test_a_copy_that_is_made_inside_a_switch_is_not_switched(
    norm: nn.Module,
    switch: Callable[[nn.Module], AbstractContextManager[None]],
    copied: Callable[[nn.Module], nn.Module],
) -> None:
    model = nn.Sequential(norm)
    settings = set(vars(norm))
    with switch(model):
        twin = copied(model)
    inner = twin.get_submodule("0")
    assert set(vars(inner)) == settings
    norm(X)
    twin(X)
    assert inner.num_batches_tracked == 101
    assert same(state(norm), state(inner))


@pytest.mark.parametrize("switch", SWITCHES)
def test_modes_that_are_set_inside_a_switch_stay_set(
    norm: nn.Module, switch: Callable[[nn.Module], AbstractContextManager[None]]
) -> None:
    model = nn.Sequential(norm)
    with switch(model):
        model.eval()
        inside = model(X)
    assert not norm.training
    with switch(model.eval()):
        assert torch.equal(model(X), inside)
        model.train()
    assert norm.training
    assert "train" not in vars(norm)

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.conversion.restoring.restoration import restored
from bnconvert.modules.kinds import norms_in
from tests.conversion.restoring.shipped import Block, Shipped, relative
from tests.zoo import trained


def test_a_graft_gets_its_norms_back_where_they_were_and_computes_the_same(
    model: nn.Module, graft: nn.Module, batches: list[Tensor]
) -> None:
    again: Any = bnc.restore(graft, batches)
    assert type(again) is Block
    assert list(again.state_dict()) == list(model.state_dict())
    assert not again.training
    for x in batches:
        assert relative(again(x), graft(x)) < 1e-5
        assert relative(again(x), model(x)) < 1e-5


def test_the_models_own_checkpoint_fits_into_a_restored_graft(
    model: nn.Module, graft: nn.Module, batches: list[Tensor]
) -> None:
    again: Any = bnc.restore(graft, batches)
    again.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(again(batches[0]), model(batches[0]))


def test_it_trains_as_the_unfolded_model_does(
    model: nn.Module, graft: nn.Module, batches: list[Tensor]
) -> None:
    again: Any = bnc.restore(graft, batches).train()
    assert relative(again(batches[0]), copy.deepcopy(model).train()(batches[0])) < 1e-4
    assert relative(graft(batches[0]), copy.deepcopy(model).train()(batches[0])) > 1e-2


def test_a_layer_without_identity_keeps_its_class_and_keys_and_gets_a_child(
    batches: list[Tensor],
) -> None:
    net = Shipped().eval()
    again: Any = bnc.restore(net, batches)
    assert isinstance(again.conv, nn.Conv2d)
    lost = set(net.state_dict()) - set(again.state_dict())
    assert lost == {"conv.bias", "up.bias"}  # which the norms absorb
    new = set(again.state_dict()) - set(net.state_dict())
    assert {name.rpartition(".")[0] for name in new} == {"conv.norm", "up.norm"}
    assert again.head.weight.shape == net.head.weight.shape


def test_folding_it_gives_the_same_function_and_restoring_that_the_same_keys(
    graft: nn.Module, batches: list[Tensor]
) -> None:
    for net in (graft, Shipped().eval()):
        again: Any = bnc.restore(net, batches)
        folded = bnc.fold(again, (batches[0],))
        assert folded.report.count("standing") == 0
        assert relative(folded.module(batches[1]), net(batches[1])) < 1e-5
        twice = bnc.restore(folded.graft(again), batches)
        assert list(twice.state_dict()) == list(again.state_dict())
        assert relative(twice(batches[1]), net(batches[1])) < 1e-5


def test_the_restored_model_can_be_converted_inspected_and_measured(batches: list[Tensor]) -> None:
    again: Any = bnc.restore(Shipped().eval(), batches)
    assert [row.path for row in bnc.inspect(again).norms] == ["conv.norm", "up.norm"]
    assert [row.calls for row in bnc.inspect(again).norms] == [1, 1]
    frozen = bnc.convert(again, bnc.Frozen())
    assert torch.equal(frozen.train()(batches[0]), again(batches[0]))
    before = again.conv.norm.running_mean.clone()
    bnc.recompute_statistics(again, batches)
    torch.testing.assert_close(again.conv.norm.running_mean, before)


def test_the_users_model_is_not_changed(graft: nn.Module, batches: list[Tensor]) -> None:
    before = {name: tensor.clone() for name, tensor in graft.state_dict().items()}
    again: Any = bnc.restore(graft, batches)
    for parameter in again.parameters():
        parameter.zero_()
    assert list(graft.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in graft.state_dict().items())
    assert isinstance(graft.get_submodule("bn1"), nn.Identity)


def test_norms_that_the_model_still_has_keep_their_statistics(batches: list[Tensor]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3),
                        nn.ReLU())  # fmt: skip
    net = trained(net).train()
    before: Any = net[1]
    done = restored(net, batches)
    model: Any = done.model
    assert torch.equal(model[1].running_mean, before.running_mean)
    assert isinstance(model[3].norm, nn.BatchNorm2d)
    assert [module.training for _, module, _ in norms_in(done.model)] == [True, True]
    assert done.notes == ()


def test_linear_layers_get_a_norm_where_a_rule_asks_for_it() -> None:
    x = torch.randn(64, 5)
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    again: Any = bnc.restore(net, [x], layers={"0": True})
    assert isinstance(again[0].norm, nn.BatchNorm1d)
    assert isinstance(again[2], nn.Linear)
    assert relative(again(x), net(x)) < 1e-6
    with pytest.raises(bnc.StatisticsError, match="takes 2 axes"):
        bnc.restore(net, [torch.randn(4, 7, 5)], layers={"0": True})


def test_a_folded_graph_and_a_program_become_trainable_graphs(
    model: nn.Module, batches: list[Tensor], tmp_path: object
) -> None:
    folded = bnc.fold(model, (batches[0],))
    path = f"{tmp_path}/folded.pt2"
    program = folded.program()
    assert program is not None
    torch.export.save(program, path)
    for given in (folded, folded.module, torch.export.load(path), program.module()):
        again: Any = bnc.restore(given, batches)
        assert isinstance(again, torch.fx.GraphModule)
        assert len(list(norms_in(again))) == 3
        assert relative(again(batches[1]), model(batches[1])) < 1e-5
        assert isinstance(again.get_submodule("conv1.norm"), nn.BatchNorm2d)
        assert torch.isfinite(again.train()(batches[0])).all()
        refolded = bnc.fold(again.eval(), (batches[0],))
        assert refolded.report.count("folded") == 3


def test_a_model_that_was_folded_in_parts_is_restored_in_its_own_class(
    batches: list[Tensor],
) -> None:
    class Host(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.body(x)
            return y * 2 if float(y.mean()) > 0 else y

    host = Host().eval()
    folded = bnc.fold(host, (batches[0],))
    assert not folded.is_whole
    again: Any = bnc.restore(folded, batches, layers={"body.*": True})
    assert type(again) is Host
    assert relative(again.train().eval()(batches[0]), host(batches[0])) < 1e-5


@pytest.mark.parametrize("eps", [0, -1e-5, float("nan")])
def test_eps_is_positive(eps: float, batches: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="eps is"):
        bnc.restore(Shipped(), batches, eps=eps)


def test_without_data_nothing_is_measured() -> None:
    with pytest.raises(bnc.StatisticsError, match="batches gave no data"):
        bnc.restore(Shipped(), [])

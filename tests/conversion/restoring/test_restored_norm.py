import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.conversion.restoring.restoration import restored
from bnconvert.modules.kinds import norms_in
from tests.conversion.restoring.shipped import Block, Shipped, relative, without_memory
from tests.zoo import trained


@torch.enable_grad()
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_its_gradients_are_the_unfolded_models_and_the_folded_models_are_not(
    batches: list[Tensor], eps: float
) -> None:
    """In training mode. Without memory, in the unfolded weights, and where eps is small."""
    model, x = trained(Block()).double(), torch.cat(batches).double()
    for _, norm, _ in norms_in(model):
        norm.eps = eps  # type: ignore[assignment]
    bnc.recompute_statistics(model, [x])
    folded = bnc.fold(model.eval(), (x,)).graft(model)
    restored, bare = bnc.restore(folded, [x]), bnc.restore(without_memory(folded), [x])
    for net in (model, restored, bare, folded):
        scores = net.train()(x)
        (scores * torch.linspace(-1, 1, scores.numel()).view_as(scores)).sum().backward()

    def cosine(net: nn.Module, layer: str) -> float:
        own, theirs = (n.get_parameter(f"{layer}.weight") for n in (model, net))
        assert own.grad is not None
        assert theirs.grad is not None
        gradient = theirs.grad * (theirs / own).detach()
        return float(F.cosine_similarity(own.grad.flatten(), gradient.flatten(), 0))

    for layer in ("conv1", "conv2", "up"):
        weights = (n.get_parameter(f"{layer}.weight") for n in (model, restored))
        torch.testing.assert_close(*weights)
        assert cosine(restored, layer) > 1 - 1e-9
        assert (cosine(bare, layer) > 0.99999) == (eps < 0.1)
        assert cosine(folded, layer) < 0.99


def test_statistics_are_those_of_the_layers_outputs_and_the_affine_undoes_them(
    batches: list[Tensor],
) -> None:
    net: Any = Shipped().eval()
    again: Any = bnc.restore(net, batches, eps=1e-3)
    assert isinstance(again, Shipped)
    x = torch.cat(batches)
    z = F.conv2d(x.double(), net.conv.weight.double())
    norm: Any = again.conv.norm
    assert isinstance(norm, nn.BatchNorm2d)
    torch.testing.assert_close(norm.running_mean, z.mean((0, 2, 3)).float())
    torch.testing.assert_close(norm.running_var, z.var((0, 2, 3), correction=0).float())
    assert norm.running_var is not None
    torch.testing.assert_close(norm.weight, (norm.running_var + 1e-3).sqrt())
    torch.testing.assert_close(norm.bias, norm.running_mean + net.conv.bias)
    assert norm.num_batches_tracked == 3
    assert again.conv.bias is None
    assert relative(again(x), net(x)) < 1e-6


def test_a_graft_gives_eps_and_momentum_back_and_a_given_eps_wins(
    model: nn.Module, batches: list[Tensor]
) -> None:
    norm: Any = model.get_submodule("bn2")
    norm.eps, norm.momentum = 1e-3, None
    graft = bnc.fold(model, (batches[0],)).graft(model)
    again: Any = bnc.restore(copy.deepcopy(graft), batches)
    assert (again.bn1.eps, again.bn2.eps) == (1e-5, 1e-3)
    assert (again.bn1.momentum, again.bn2.momentum) == (0.1, None)
    other: Any = bnc.restore(graft, batches, eps=1e-2)
    assert (other.bn1.eps, other.bn2.eps) == (1e-2, 1e-2)
    for net in (again, other):
        assert relative(net(batches[0]), graft(batches[0])) < 1e-5


def test_a_graft_remembers_norms_behind_output_layers_and_negative_and_zero_weights(
    batches: list[Tensor],
) -> None:
    net = trained(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)))
    layers: Any = net
    layers[1].weight[:2] = torch.tensor([-0.5, 0.0])
    graft = bnc.fold(net, (batches[0],)).graft(net)
    with pytest.raises(bnc.RefusedError, match="is an output layer"):
        bnc.restore(without_memory(graft), batches)
    again: Any = bnc.restore(graft, batches)
    assert again[1].weight[0] < 0
    assert relative(again(batches[0]), net(batches[0])) < 1e-5
    torch.testing.assert_close(again[0].weight[[0, 2, 3]], layers[0].weight[[0, 2, 3]])
    assert not again[0].weight[1].any()  # a factor of 0 cannot be undone


def test_a_weight_that_another_layer_shares_by_now_keeps_its_scale(
    graft: nn.Module, batches: list[Tensor]
) -> None:
    """Else the other layer would compute something else."""
    tied: Any = copy.deepcopy(graft)
    tied.head = nn.Sequential(nn.Conv2d(6, 8, 1), nn.Conv2d(8, 8, 3, padding=1))
    tied.eval().head[1].weight = tied.conv2.weight
    again: Any = bnc.restore(tied, batches)
    assert again.head[1].weight is again.conv2.weight
    assert relative(again(batches[0]), tied(batches[0])) < 1e-5


def test_a_user_forward_that_does_more_with_the_bias_keeps_it(batches: list[Tensor]) -> None:
    class Odd(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            assert self.bias is not None
            return F.conv2d(x, self.weight) + 2 * self.bias.view(-1, 1, 1)

    net = nn.Sequential(Odd(3, 4, 3), nn.ReLU()).eval()
    again: Any = bnc.restore(net, batches)
    assert isinstance(again[0], Odd)
    assert again[0].bias is not None
    assert relative(again(batches[0]), net(batches[0])) < 1e-6


def test_a_dead_channel_is_noted_and_stays_the_identity(batches: list[Tensor]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    weight: Any = net[0].weight
    weight[1] = 0
    done = restored(net, batches)
    model: Any = done.model
    assert len(done.notes) == 1
    assert done.notes[0].startswith("0.norm: 1 of 4 channels are constant over the batches")
    torch.testing.assert_close(model[0].norm.weight[1], torch.tensor(1e-5).sqrt())
    assert relative(model(batches[0]), net(batches[0])) < 1e-6


def test_a_layer_that_no_batch_reaches_is_refused_by_name(batches: list[Tensor]) -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.other(x).relu() if x.sum() > 1e9 else self.main(x).relu()
            return y

    net, every = Sometimes().eval(), {"*": True}
    with pytest.raises(bnc.StatisticsError, match="other: no batch reached it"):
        bnc.restore(net, batches, layers=every)
    again: Any = bnc.restore(net, batches, layers={"other": False} | every)
    assert relative(again(batches[0]), net(batches[0])) < 1e-6

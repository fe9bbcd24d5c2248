import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.modules.survey import survey
from tests.zoo import CacheInForward, FrozenBatchNorm2d, Net, OwnBatchNorm2d, build


class Branch(nn.Module):
    """Control flow inside, around a norm."""

    def __init__(self, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.inner = inner or nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if x.sum() > 0 else x


class Unpacking(nn.Module):
    """Fails after its children were traced."""

    def __init__(self) -> None:
        super().__init__()
        self.branch, self.norm = Branch(), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.norm(self.branch(x)).chunk(2)
        return torch.cat([*first, *second])


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d, OwnBatchNorm2d],
    ids=lambda norm: norm.__name__,
)
def test_every_kind_of_norm_is_a_leaf(norm: type[nn.Module]) -> None:
    found = survey(Net(norm))
    (site,) = found.sites
    assert (site.path, site.class_name, len(site.calls)) == ("norm", norm.__name__, 1)
    assert found.functional == ()
    assert site.module is found.model.norm


def test_timms_fused_layer_is_a_leaf() -> None:
    layers = pytest.importorskip("timm.layers")
    found = survey(Net(layers.BatchNormAct2d))
    assert [len(site.calls) for site in found.sites] == [1]
    assert found.functional == ()


def test_one_and_three_dimensional_norms_are_seen() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm3d(4))
    assert [site.class_name for site in survey(model).sites] == ["BatchNorm1d", "BatchNorm3d"]


def test_several_calls_and_several_names_are_known() -> None:
    (site,) = survey(build("norm_called_twice")[0]).sites
    assert len(site.calls) == 2
    (site,) = survey(build("one_norm_two_parents")[0]).sites
    assert site.paths == ("left.1", "right.1")
    assert len(site.calls) == 2


def test_a_submodule_that_cannot_be_traced_stays_closed_while_the_rest_is_seen() -> None:
    found = survey(nn.Sequential(nn.BatchNorm2d(3), Branch(), nn.BatchNorm2d(3)))
    assert list(found.untraceable) == ["1"]
    assert found.untraceable["1"].startswith("TraceError: symbolically traced variables cannot be")
    assert [(s.path, len(s.calls)) for s in found.sites] == [("0", 1), ("1.inner", 0), ("2", 1)]
    assert found.graph is not None
    found.graph.lint()


def test_only_the_innermost_module_is_closed() -> None:
    found = survey(nn.Sequential(nn.Sequential(nn.BatchNorm2d(3), Branch())))
    assert list(found.untraceable) == ["0.1"]
    assert [len(site.calls) for site in found.sites] == [1, 0]


def test_a_closed_module_swallows_what_was_closed_or_called_inside_it() -> None:
    found = survey(nn.Sequential(Unpacking(), nn.BatchNorm2d(3)))
    assert list(found.untraceable) == ["0"]
    assert [(s.path, len(s.calls)) for s in found.sites] == [
        ("0.branch.inner", 0),
        ("0.norm", 0),
        ("1", 1),
    ]


def test_a_root_that_cannot_be_traced_leaves_the_tree() -> None:
    found = survey(build("branch_in_root")[0])
    assert found.graph is None
    assert list(found.untraceable) == [""]
    assert [site.path for site in found.sites] == ["net.norm"]


def test_functional_norms_are_reported_with_their_owner() -> None:
    (call,) = survey(nn.Sequential(nn.Identity(), build("functional")[0])).functional
    assert call.owner == "1"
    assert not call.on_weight


def test_weight_standardization_is_no_norm() -> None:
    (call,) = survey(build("standardized_conv")[0]).functional
    assert call.on_weight


def test_nothing_of_the_users_model_changes() -> None:
    class Counting(nn.Module):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.register_buffer("seen", torch.zeros(()))
            self.kept: list[object] = []

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            self.kept.append(x)
            y: Tensor = self.norm(x) + torch.rand(1)
            return y

    model = Counting().train()
    state, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    assert len(survey(model).sites) == 1
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert model.kept == []
    assert torch.equal(torch.get_rng_state(), random)
    cached = CacheInForward()
    survey(cached)
    assert cached.cache == {}


def test_a_second_survey_sees_the_same() -> None:
    model = build("branch_in_child")[0]
    first, second = survey(model), survey(model)
    assert first.untraceable == second.untraceable
    assert [len(s.calls) for s in first.sites] == [len(s.calls) for s in second.sites]


def test_a_norm_outside_the_module_tree_is_a_call_and_another_module_closes_its_user() -> None:
    class Unregistered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)]

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.hidden[0](x))

    class Convolving(Unregistered):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.hidden[1](x))

    found = survey(nn.Sequential(Unregistered(), nn.BatchNorm2d(3)))
    assert {site.path: site.observed_calls for site in found.sites} == {"1": 1, "0.hidden.0": 1}
    found = survey(nn.Sequential(Convolving(), nn.BatchNorm2d(3)))
    assert list(found.untraceable) == ["0"]
    assert "not installed as a submodule" in found.untraceable["0"]

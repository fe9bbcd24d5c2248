import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.modules.survey import survey
from tests.disguises import BORROWED, OTHERS, PLACES, Held, Made, Styled, network


@pytest.mark.parametrize("disguise", BORROWED)
def test_a_norm_whose_statistics_others_use_is_known_and_refused(
    disguise: type[nn.Module],
) -> None:
    model = network(disguise())
    (site,) = survey(model).sites
    assert (site.path, site.used_by) == ("1.bn", ("1",))
    with pytest.raises(bnc.RefusedError, match=r"1\.bn: 1 uses its statistics without calling it"):
        bnc.convert(model, bnc.Frozen())
    bnc.convert(model, bnc.Keep())


def test_who_reads_statistics_and_calls_the_norm_too_is_no_obstacle() -> None:
    class Scaled(nn.Module):
        """As a convolution that is trained to be folded."""

        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            scale = (self.bn.get_buffer("running_var") + 1e-5).sqrt().view(1, -1, 1, 1)
            y: Tensor = self.bn(x * scale)
            return y

    (site,) = survey(Scaled()).sites
    assert (site.used_by, site.observed_calls) == ((), 1)


@pytest.mark.parametrize("other", OTHERS)
def test_another_class_with_running_statistics_is_a_norm_that_no_rewrite_replaces(
    other: type[nn.Module],
) -> None:
    model = network(other())
    (site,) = survey(model).sites
    assert (site.path, site.channels, site.observed_calls) == ("1", 4, 1)
    with pytest.raises(bnc.RefusedError, match=f"1: {other.__name__} holds running statistics"):
        bnc.convert(model, bnc.Frozen())
    bnc.convert(model, bnc.Policy({"1": bnc.Keep()}))


def test_a_model_that_normalizes_its_inputs_does_not_hide_the_norms_in_it() -> None:
    class Agent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(3))
            self.register_buffer("running_var", torch.ones(3))
            self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.net(
                (x - self.get_buffer("running_mean")) / self.get_buffer("running_var").sqrt()
            )
            return y

    calls = {site.path: site.observed_calls for site in survey(Agent()).sites}
    assert calls == {"": None, "net.1": 1}


@pytest.mark.parametrize("place", PLACES)
def test_a_norm_where_torch_does_not_look_is_listed_and_refused(place: str) -> None:
    model = network(Held(PLACES[place]))
    (site,) = survey(model).sites
    assert site.path == f"1.{place.strip()}"
    with pytest.raises(bnc.RefusedError, match="is a BatchNorm2d in a plain attribute"):
        bnc.convert(model, bnc.Frozen())
    bnc.convert(model, bnc.Keep())


def test_a_norm_in_a_list_that_no_forward_calls_is_told_and_stops_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    vars(model)["teacher"] = [nn.Sequential(nn.BatchNorm2d(3))]
    (idle,) = survey(model).idle
    assert idle.path == "teacher.0.0"
    assert "teacher.0.0: is a BatchNorm2d in a plain attribute" in str(
        bnc.plan(model, bnc.Frozen())
    )
    bnc.convert(model, bnc.Frozen())


def test_norms_in_forwards_are_told_apart() -> None:
    (made,) = survey(network(Made())).functional
    assert (made.owner, made.is_made_there) == ("1", True)
    (styled,) = survey(network(Styled())).functional
    assert (styled.owner, styled.by_batch_alone) == ("1", True)
    with pytest.raises(bnc.RefusedError, match="1: makes a batch norm in its forward"):
        bnc.convert(network(Made()), bnc.Frozen())
    bnc.convert(network(Made()), bnc.Policy({"1": bnc.Keep()}))
    bnc.convert(network(Styled()), bnc.Frozen())


class Closed(nn.Module):
    def __init__(self, norm: object) -> None:
        super().__init__()
        self.inner = norm

    def forward(self, x: Tensor) -> Tensor:
        inner = self.inner[0] if isinstance(self.inner, list) else self.inner
        y: Tensor = inner(x) if x.sum() > 0 else inner(-x)  # type: ignore[operator]
        return y


@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: nn.Sequential(n), lambda n: [n]])
def test_calls_are_unknown_where_any_holder_of_the_norm_is_closed(wrap: object) -> None:
    assert callable(wrap)
    norm = nn.BatchNorm1d(3)
    model = nn.Sequential(norm, Closed(wrap(norm)))
    (site,) = survey(model).sites
    assert (len(site.calls), site.observed_calls) == (1, None)

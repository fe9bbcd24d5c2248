from torch import nn

import bnconvert as bnc
from bnconvert.errors import Refusal
from bnconvert.modules.replacement import build, needs_running_statistics
from bnconvert.modules.survey import survey
from bnconvert.modules.tracking import TrackingNorm
from tests.zoo import Net, build as build_zoo


def test_a_norm_is_built_from_the_site_and_not_attached() -> None:
    model = Net()
    (site,) = survey(model).sites
    built = build(site, TrackingNorm, {"updates": False})
    assert type(model.norm) is nn.BatchNorm2d
    assert (built.weight, built.running_mean) == (model.norm.weight, model.norm.running_mean)
    assert (built.origin, built.updates) == (nn.BatchNorm2d, False)
    assert built.skipped == 0


def test_the_same_settings_again_are_done_and_other_ones_are_not() -> None:
    (site,) = survey(bnc.convert(Net(), bnc.Ghost(4))).sites
    assert bnc.Ghost(4).is_already_done(site)
    assert bnc.Ghost(4).edits(site) == {}
    assert not bnc.Ghost(8).is_already_done(site)
    assert not bnc.Sync().is_already_done(site)
    (edit,) = bnc.Ghost(8).edits(site).values()
    assert edit.size == 8


def test_one_variant_becomes_another_without_a_trace_of_the_first() -> None:
    once = bnc.convert(Net(), bnc.Renorm())
    twice = bnc.convert(once, bnc.Ghost(4))
    directly = bnc.convert(Net(), bnc.Ghost(4))
    assert vars(twice.norm).keys() == vars(directly.norm).keys()
    assert list(twice.state_dict()) == list(Net().state_dict())


def test_missing_statistics_are_refused_with_what_they_are_needed_for() -> None:
    model, _ = build_zoo("without_statistics")
    (site,) = survey(model).sites
    assert needs_running_statistics(site, "to average", "use Keep()") == Refusal(
        "no-running-statistics", "has no running statistics to average", "use Keep()"
    )
    (site,) = survey(Net()).sites
    assert needs_running_statistics(site, "to average", "use Keep()") is None

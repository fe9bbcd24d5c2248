from torch import nn

import bnconvert as bnc
from bnconvert.modules.kinds import kind_of
from bnconvert.modules.site import sites_in
from bnconvert.modules.survey import survey
from tests.zoo import build


def test_a_site_knows_its_paths_calls_and_class() -> None:
    (site,) = survey(build("one_norm_two_names")[0]).sites
    assert (site.path, site.aliases, site.paths) == ("first", ("second",), ("first", "second"))
    assert (site.observed_calls, site.channels, site.class_name) == (2, 8, "BatchNorm2d")


def test_calls_that_a_closed_module_hides_are_unknown_not_zero() -> None:
    outer, inner = survey(build("branch_in_child")[0]).sites
    assert (outer.path, outer.observed_calls) == ("norm", 1)
    assert (inner.path, inner.observed_calls) == ("closed.norm", None)


def test_a_module_whose_name_starts_like_a_closed_ones_is_open() -> None:
    model = build("branch_in_child")[0]
    branching = nn.Sequential()
    branching.closed, branching.closedness = model.closed, nn.Sequential(nn.BatchNorm2d(8))
    calls = {site.path: site.observed_calls for site in survey(branching).sites}
    assert calls == {"closed.norm": None, "closedness.0": 1}


def test_the_norms_alone_are_listed_without_a_trace() -> None:
    model = build("one_norm_two_names")[0]
    (site,) = sites_in(model)
    assert (site.paths, site.module, site.model) == (("first", "second"), model.first, model)
    assert site.kind == kind_of(model.get_submodule("first"))
    assert (site.calls, site.observed_calls) == ((), None)


def test_a_list_and_a_survey_hold_the_same_norms_in_the_same_order() -> None:
    for name in ("residual", "branch_in_child", "one_norm_two_parents", "own_forward"):
        model = build(name)[0]
        surveyed = [(site.paths, site.module) for site in survey(model).sites]
        assert [(site.paths, site.module) for site in sites_in(model)] == surveyed


def test_a_norm_that_is_never_called_has_no_calls() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    model[0].unused = nn.BatchNorm2d(4)
    (site,) = survey(model).sites
    assert site.observed_calls == 0


def test_only_a_norm_that_is_a_fixed_scale_in_eval_mode_has_gains() -> None:
    (plain,) = sites_in(nn.Sequential(nn.BatchNorm2d(4, eps=0.0)))
    assert plain.gains == (1.0, 1.0, 1.0)
    (grouped,) = sites_in(bnc.convert(nn.Sequential(nn.BatchNorm2d(4)), bnc.Group(2)))
    assert grouped.gains == ()

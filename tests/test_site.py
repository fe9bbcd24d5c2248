from torch import nn

from bnconvert.tracing import survey
from tests.zoo import build


def test_a_site_knows_its_paths_calls_and_class() -> None:
    (site,) = survey(build("one_norm_two_names")[0]).sites
    assert (site.path, site.aliases, site.paths) == ("first", ("second",), ("first", "second"))
    assert (site.observed_calls, site.channels, site.class_name) == (2, 8, "BatchNorm2d")


def test_calls_that_a_closed_module_hides_are_unknown_not_zero() -> None:
    outer, inner = survey(build("branch_in_child")[0]).sites
    assert (outer.path, outer.observed_calls) == ("norm", 1)
    assert (inner.path, inner.observed_calls) == ("closed.norm", None)
    assert inner.survey.closed_around("closed.norm") == "closed"
    assert inner.survey.closed_around("closedness.norm") is None


def test_a_norm_that_is_never_called_has_no_calls() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    model[0].unused = nn.BatchNorm2d(4)
    (site,) = survey(model).sites
    assert site.observed_calls == 0

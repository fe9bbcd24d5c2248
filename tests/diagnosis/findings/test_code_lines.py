from torch import nn

from bnconvert.diagnosis.findings.code_lines import converting, for_each, patterns_of
from bnconvert.modules.site import Site
from bnconvert.modules.survey import survey
from bnconvert.norms.frozen import Frozen
from tests.zoo import ScaledBatchNorm2d

_freeze = converting(Frozen(), "bnc.Frozen()")


def sites(model: nn.Module, *paths: str) -> list[Site]:
    return [site for site in survey(model).sites if site.path in paths]


def tree() -> nn.Module:
    layer = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4))
    return nn.ModuleDict({"stem": nn.BatchNorm1d(4), "layer": layer, "head": nn.BatchNorm1d(4)})


def test_patterns_are_as_short_as_they_can_be() -> None:
    model = tree()
    assert patterns_of(sites(model, "stem", "layer.0", "layer.1", "head")) == ["*"]
    assert patterns_of(sites(model, "stem", "layer.0", "layer.1")) == ["stem", "layer.*"]
    assert patterns_of(sites(model, "layer.1")) == ["layer.1"]


def test_a_line_converts_what_was_found_and_nothing_else() -> None:
    model = tree()
    every = sites(model, "stem", "layer.0", "layer.1", "head")
    assert _freeze(every) == "model = bnc.convert(model, bnc.Frozen(), inplace=True)"
    assert "bnc.Policy({'stem': bnc.Frozen()})" in _freeze(sites(model, "stem"))
    assert "dict.fromkeys(['stem', 'head'], bnc.Frozen())" in _freeze(sites(model, "stem", "head"))


def test_there_is_no_line_for_what_would_be_refused() -> None:
    refused = nn.Sequential(ScaledBatchNorm2d(4))
    assert _freeze(sites(refused, "0")) == ""
    untracked = nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False))
    assert _freeze(sites(untracked, "0")) == ""


def test_a_line_for_each_norm_reaches_only_those_of_the_module_tree() -> None:
    model = tree()
    assert for_each("m.float()")(sites(model, "stem")) == (
        "[m.float() for m in map(model.get_submodule, ['stem'])]"
    )
    holder = nn.Sequential(nn.ReLU())
    vars(holder)["spare"] = [nn.BatchNorm1d(4)]
    assert for_each("m.float()")(survey(holder).idle) == ""

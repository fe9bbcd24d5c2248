from torch import nn

from bnconvert.diagnosis.findings.rule import Rule, found_by
from bnconvert.modules.survey import survey


def test_a_rule_gives_one_finding_with_every_path() -> None:
    sites = survey(nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(4))).sites
    wide = Rule("X1", "info", lambda site: site.channels > 3, "wide", "narrow it")
    every = Rule("X2", "error", lambda site: True, "a norm", "remove it")
    never = Rule("X3", "error", lambda site: False, "nothing", "nothing")
    found = list(found_by((wide, every, never), sites))
    assert [(f.id, f.paths) for f in found] == [("X1", ("1",)), ("X2", ("0", "1"))]


def test_message_and_code_may_be_written_from_the_norms_that_were_found() -> None:
    sites = survey(nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(4))).sites
    rule = Rule("X1", "info", lambda s: True, lambda found: f"{len(found)}", "fix", lambda s: "go")
    (finding,) = found_by((rule,), sites)
    assert (finding.message, finding.fix, finding.code) == ("2", "fix", "go")

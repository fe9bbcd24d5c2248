import json

from bnconvert.diagnosis.catalogue import CATALOGUE
from tests.cli.conftest import Run


def test_every_finding_is_a_line(run: Run) -> None:
    result = run("rules")
    assert (result.code, result.err) == (0, "")
    head, *lines = result.out.splitlines()
    assert head.split() == ["id", "severity", "what", "it", "says"]
    assert [line.split()[0] for line in lines] == [entry.id for entry in CATALOGUE]


def test_programs_get_all_that_is_known(run: Run) -> None:
    rules = json.loads(run("rules", "--json").out)
    assert [rule["id"] for rule in rules] == [entry.id for entry in CATALOGUE]
    assert rules[0].keys() == {
        *("id", "title", "severities", "reported_by", "rule", "why", "fix", "source", "example"),
    }

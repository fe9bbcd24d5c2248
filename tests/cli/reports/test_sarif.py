import json
from dataclasses import replace

import pytest

from bnconvert.cli.reports.place import Place
from bnconvert.cli.reports.sarif import sarif_of
from bnconvert.reporting.records import Finding
from bnconvert.reporting.report import Report
from tests.json_schema import wrong
from tests.sarif_schema import SARIF

ERROR = Finding("BN201", "error", ("a", "b", "b"), "off", "recompute", "f(model)")
INFO = Finding("BN004", "info", (), "none", "nothing")
REPORT = Report("Net", findings=(INFO, ERROR))
PLACE = Place("src/net.py", 3)


@pytest.mark.parametrize("place", [PLACE, None])
@pytest.mark.parametrize("report", [REPORT, Report("Net")])
def test_a_log_is_what_sarif_demands(report: Report, place: Place | None) -> None:
    log = json.loads(json.dumps(sarif_of(report, "inspect net.py:f", place)))
    assert wrong(log, SARIF) == []
    run = log["runs"][0]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def test_the_rules_of_the_tests_see_what_is_wrong() -> None:
    log = sarif_of(REPORT, "inspect net.py:f", PLACE)
    log["runs"][0]["results"][0]["level"] = "info"
    log["runs"][0]["tool"]["drivers"] = {}
    assert len(wrong(log, SARIF)) == 2


def test_a_finding_is_a_result_at_the_code_and_the_modules() -> None:
    (run,) = sarif_of(REPORT, "inspect net.py:f", PLACE)["runs"]
    info, error = run["results"]
    assert (info["ruleId"], info["level"]) == ("BN004", "note")
    assert (error["ruleId"], error["level"]) == ("BN201", "error")
    assert error["message"]["text"] == "a, b: off; recompute"
    (location,) = error["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "src/net.py"},
        "region": {"startLine": 3},
    }
    names = [found["fullyQualifiedName"] for found in location["logicalLocations"]]
    assert names == ["a", "b"]
    assert run["automationDetails"]["id"] == "bnconvert/inspect net.py:f/"


def test_a_result_is_known_again_whatever_its_figures_are() -> None:
    def fingerprint(report: Report, subject: str = "inspect net.py:f") -> object:
        return sarif_of(report, subject, PLACE)["runs"][0]["results"][0]["partialFingerprints"]

    once, later = Report("Net", findings=(ERROR,)), replace(ERROR, message="off by more")
    assert fingerprint(once) == fingerprint(Report("Net", findings=(later,)))
    elsewhere = replace(ERROR, paths=("c",))
    assert fingerprint(once) != fingerprint(Report("Net", findings=(elsewhere,)))
    assert fingerprint(once) != fingerprint(once, "diagnose net.py:f")

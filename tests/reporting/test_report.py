import json
from html.parser import HTMLParser
from pathlib import Path

import bnconvert as bnc
from bnconvert.reporting.records import Check, Finding, NormRow
from bnconvert.reporting.report import SCHEMA_VERSION, Report
from tests.zoo import build

REPORT = Report(
    "a <title>",
    norms=(
        NormRow("a.bn", "BatchNorm2d", 8, 1, "folded", "into a.conv (conv2d)", ("b.bn",)),
        NormRow("", "BatchNorm1d", 4, None, "standing", "its reason"),
    ),
    findings=(Finding("BN009", "warning", ("a.bn",), "a fact", "a fix"),),
    checks=(
        Check("given", "y", "norm", 1e-7, 1e-6, True),
        Check("given", "y", "peak", 1e-3, 1e-6, False, "a <detail>"),
    ),
    facts={"size": "3 MB"},
    notes=("a note",),
)


def test_counts_and_failures_are_read_off_the_rows() -> None:
    assert (REPORT.count("folded"), REPORT.count("standing"), REPORT.count("absent")) == (1, 1, 0)
    assert [check.measure for check in REPORT.failures] == ["peak"]


def test_json_holds_everything_and_the_versions(tmp_path: Path) -> None:
    REPORT.to_json(tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["schema_version"] == SCHEMA_VERSION == 1
    assert set(content["versions"]) == {"bnconvert", "torch", "onnx", "onnxruntime"}
    assert content["norms"][0]["aliases"] == ["b.bn"]
    assert content["norms"][1]["calls"] is None
    assert content["checks"][1]["detail"] == "a <detail>"
    assert content["findings"][0]["fix"] == "a fix"
    assert (content["facts"], content["notes"]) == ({"size": "3 MB"}, ["a note"])


def test_html_is_well_formed_and_escaped(tmp_path: Path) -> None:
    class Balanced(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.text: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_data(self, data: str) -> None:
            self.text.append(data)

    REPORT.to_html(tmp_path / "r.html")
    page = Balanced()
    page.feed((tmp_path / "r.html").read_text())
    assert page.open == []
    text = " ".join(page.text)
    for said in ("a <title>", "a.bn = b.bn", "(root)", "its reason", "a fix", "a note", "3 MB"):
        assert said in text
    assert "FAILED: a <detail>" in text


def test_text_names_everything() -> None:
    text = str(REPORT)
    for part in ("a <title>", "a.bn = b.bn", "(root)", "its reason", "BN009 warning: a.bn: a fact"):
        assert part in text
    assert "2 norms: 1 folded, 1 standing" in text
    assert "note: a note" in text
    assert "size  3 MB" in text


def test_a_real_report_survives_json() -> None:
    report = bnc.inspect(build("one_norm_two_names")[0])
    assert json.loads(json.dumps(report.to_dict()))["norms"][0]["path"] == "first"


def test_a_report_is_ok_unless_something_is_wrong() -> None:
    assert not REPORT.ok, "a check does not hold"
    assert Report("t", findings=REPORT.findings).ok, "a warning is no error"
    assert not Report("t", findings=(Finding("BN101", "error", ("a",), "fact", "fix"),)).ok
    assert not Report("t", "cannot be judged").ok

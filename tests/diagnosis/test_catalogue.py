"""The catalogue explains every finding that the code reports, and no other."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.diagnosis.catalogue import CATALOGUE
from bnconvert.diagnosis.catalogue.explanation import Explanation
from bnconvert.verification import finding_ids

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "bnconvert"


def constants(node: ast.expr) -> list[str]:
    """Return what an argument may be: a string, one of two, or an id by its name."""
    if isinstance(node, ast.IfExp):
        return [*constants(node.body), *constants(node.orelse)]
    if isinstance(node, ast.Name):
        return [getattr(finding_ids, node.id)]
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, str)
    return [node.value]


def reported_in(source: str) -> Iterator[tuple[str, str]]:
    """Yield every id, with its severity, that a source text reports."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id not in ("Finding", "Rule") or isinstance(node.args[0], ast.Attribute):
            continue  # a Rule's finding has the rule's own id and severity
        for severity in constants(node.args[1]):
            yield constants(node.args[0])[0], severity


def test_what_a_source_reports_is_seen() -> None:
    source = 'Rule("BN004", "info", f)\nFinding(ORIGIN, "error" if fails else "warning", p)'
    assert [*reported_in(source)] == [
        ("BN004", "info"),
        ("BN415", "error"),
        ("BN415", "warning"),
    ]


def test_every_reported_finding_is_explained_with_its_severities_and_no_other_is() -> None:
    reported = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for id, severity in reported_in(path.read_text()):
            reported[id].add(severity)
    assert reported == {entry.id: {*entry.severities} for entry in CATALOGUE}


def test_ids_are_in_order_and_given_once() -> None:
    ids = [entry.id for entry in CATALOGUE]
    assert ids == sorted(set(ids))
    assert all(re.fullmatch(r"BN\d{3}", id) for id in ids)


def test_an_explanation_is_complete_and_names_public_things_only() -> None:
    verbs = {"inspect", "diagnose", "fold", "export", "verify"}
    for entry in CATALOGUE:
        assert not entry.title.endswith(".")
        assert {*entry.reported_by} <= verbs
        for text in (entry.rule, entry.why, entry.fix):
            assert text.endswith("."), entry.id
        mentioned = re.findall(r"\bbnc\.(\w+)", f"{entry.rule} {entry.why} {entry.fix}")
        assert {*mentioned} <= {*dir(bnc)}


#: Those that write a file take a second each.
EXAMPLES = [
    pytest.param(entry, marks=pytest.mark.slow if ".onnx" in entry.example else ())
    for entry in CATALOGUE
]


def test_every_explanation_has_an_example() -> None:
    assert [entry.id for entry in CATALOGUE if not entry.example] == []


@pytest.mark.parametrize("entry", EXAMPLES, ids=lambda entry: entry.id)
def test_the_example_of_an_explanation_is_reported(
    entry: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    *before, last = ast.parse(entry.example).body
    assert isinstance(last, ast.Expr)
    names = {"bnc": bnc, "nn": nn, "torch": torch}
    monkeypatch.chdir(tmp_path)
    exec(compile(ast.Module(before, []), entry.id, "exec"), names)
    report = eval(compile(ast.Expression(last.value), entry.id, "eval"), names)
    assert entry.id in {finding.id for finding in report.findings}


def test_an_explanation_is_found_by_its_id_in_either_case() -> None:
    assert bnc.explain("bn202") is bnc.explain(" BN202")
    with pytest.raises(bnc.ReportError, match=r"BN999.*`bnconvert rules` lists them"):
        bnc.explain("BN999")
    with pytest.raises(bnc.ReportError, match="did you mean BN202"):
        bnc.explain("BN2002")


def test_an_explanation_is_read_without_its_page() -> None:
    lines = str(bnc.explain("BN005")).splitlines()
    assert lines[0] == "BN005: A momentum that looks like another framework's"
    assert lines[1] == "warning; reported by inspect, diagnose"
    assert [line for line in lines if line and line[0] != " "][2:] == [
        *("Rule", "Why", "Fix", "Source", "Example"),
    ]
    assert max(map(len, lines)) <= 80
    assert "Source" not in str(bnc.explain("BN112"))

"""The catalogue explains every finding that the code reports, and no other."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import bnconvert as bnc
from bnconvert.diagnosis.catalogue import CATALOGUE
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

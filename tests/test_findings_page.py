"""docs/findings.md, and what a report's page explains, are what the catalogue of findings says."""

import runpy
from pathlib import Path

from bnconvert.diagnosis.catalogue import CATALOGUE
from bnconvert.reporting.page.explanations import FILE

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_is_up_to_date() -> None:
    script = runpy.run_path(str(DOCS / "write_findings.py"))
    for path, write in ((DOCS / "findings.md", script["page"]), (FILE, script["explanations"])):
        assert path.read_text() == write(), "run python docs/write_findings.py"


def test_the_page_explains_every_finding_once_below_its_own_heading() -> None:
    lines = (DOCS / "findings.md").read_text().splitlines()
    headings = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    assert sorted(headings) == [entry.id for entry in CATALOGUE]

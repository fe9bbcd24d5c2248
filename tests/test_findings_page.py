"""docs/findings.md is what the catalogue of findings says."""

import runpy
from pathlib import Path

from bnconvert.diagnosis.catalogue import CATALOGUE

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_is_up_to_date() -> None:
    written = runpy.run_path(str(DOCS / "write_findings.py"))["page"]()
    assert (DOCS / "findings.md").read_text() == written, "run python docs/write_findings.py"


def test_the_page_explains_every_finding_once_below_its_own_heading() -> None:
    lines = (DOCS / "findings.md").read_text().splitlines()
    headings = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    assert sorted(headings) == [entry.id for entry in CATALOGUE]

"""The code of every page of docs/ runs, and prints what the page says."""

from pathlib import Path

import pytest

from tests.document import ROOT, blocks, run_document

PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_code_of_a_page_runs_and_prints_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_document(page)


def test_a_page_for_each_job_shows_code_and_what_it_prints() -> None:
    jobs = [page for page in PAGES if page.parent.name == "jobs"]
    assert len(jobs) == 13
    for page in jobs:
        languages = {block.language for block in blocks(page.read_text())}
        assert {"python", "text"} <= languages, page.name

import json

import pytest

from bnconvert.reporting.page import explanations
from bnconvert.reporting.page.explanations import FILE, explained


def test_a_finding_is_explained_by_its_rule_reason_and_source() -> None:
    found = explained("BN202")
    assert found is not None
    assert found.title == "False overfitting"
    assert found.rule.startswith("On the same data")
    assert "Wu and Johnson, &#34;Rethinking" in found.source
    assert explained("BN999") is None


def test_of_markdown_code_and_emphasis_become_html_and_all_else_is_escaped() -> None:
    assert explanations._html("`a < b` after *n* batches, 2 * 3 * 4") == (
        "<code>a &lt; b</code> after <em>n</em> batches, 2 * 3 * 4"
    )


@pytest.mark.parametrize("id", json.loads(FILE.read_text(encoding="utf-8")))
def test_no_mark_of_markdown_is_left(id: str) -> None:
    found = explained(id)
    assert found is not None
    texts = (found.title, found.rule, found.why, found.source)
    assert not [text for text in texts if "`" in text or "](" in text]

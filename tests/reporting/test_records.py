from dataclasses import FrozenInstanceError

import pytest

from bnconvert.reporting.records import Check, Contents, Finding, NormRow


def test_records_are_values() -> None:
    assert Finding("BN009", "warning", ("a",), "fact", "fix") == Finding(
        "BN009", "warning", ("a",), "fact", "fix"
    )
    row = NormRow("bn", "BatchNorm2d", 8, 1, "folded")
    with pytest.raises(FrozenInstanceError):
        row.outcome = "standing"  # type: ignore[misc]


def test_empty_contents_hold_nothing_but_a_title() -> None:
    contents = Contents("title")
    assert (contents.norms, contents.findings, contents.checks, contents.notes) == ((),) * 4
    assert dict(contents.facts) == {}


def test_a_check_has_no_detail_unless_something_beside_the_numbers_differs() -> None:
    assert Check("case", "output", "norm", 0.0, 1.0, True).detail == ""

"""The table of the norms: every row is complete, and every name in it is public."""

import re

import pytest

import bnconvert as bnc
from bnconvert.conversion.choices import CHOICES, Choice, markdown_table


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.case)
def test_a_row_names_public_things_and_its_source(choice: Choice) -> None:
    assert choice.case
    assert choice.why
    assert choice.source
    for text in (choice.use, *choice.besides):
        names = re.findall(r"\b(?:bnc\.)?([A-Za-z_]+)\(", text)
        assert {*names} - {"model"} <= {*dir(bnc)}, text


def test_the_table_is_markdown() -> None:
    head, rule, first, *_ = markdown_table().splitlines()
    assert head == "| your case | use | why | source |"
    assert rule == "|---|---|---|---|"
    assert first.startswith("| batches of 16 or more per device, mixed at random | `Keep()` | ")

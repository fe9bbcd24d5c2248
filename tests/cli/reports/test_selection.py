import pytest

from bnconvert.cli.reports.selection import Selection, hidden_note
from bnconvert.reporting.records import Finding


@pytest.mark.parametrize(
    ("select", "ignore", "counted"),
    [
        ((), (), ["BN005", "BN201", "BN202"]),
        (("BN2",), (), ["BN201", "BN202"]),
        (("BN005", "BN202"), (), ["BN005", "BN202"]),
        ((), ("BN2",), ["BN005"]),
        ((), ("BN",), []),
        (("BN2",), ("BN201",), ["BN202"]),
        (("BN201",), ("BN2",), ["BN201"]),
        (("BN201",), ("BN201",), []),
    ],
)
def test_the_longer_prefix_wins(
    select: tuple[str, ...], ignore: tuple[str, ...], counted: list[str]
) -> None:
    selection = Selection(select, ignore)
    assert [id for id in ("BN005", "BN201", "BN202") if selection.counts(id)] == counted


def test_what_is_not_shown_is_noted_by_id() -> None:
    found = [Finding("BN005", "info", ("a", "b"), "", ""), Finding("BN009", "info", (), "", "")]
    assert hidden_note(found, found, "x") == ()
    assert hidden_note(found, found[:1], "x") == ("not shown, by x: BN009",)
    assert hidden_note(found, (), "x") == ("not shown, by x: BN005 at 2 places, BN009",)

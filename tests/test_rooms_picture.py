"""The picture of the rooms in docs/contributors.md shows the imports that there are."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
SCRIPT = runpy.run_path(str(DOCS / "draw_rooms.py"))


def test_the_picture_is_up_to_date() -> None:
    assert SCRIPT["drawn_imports"]() == SCRIPT["room_imports"](), "run python docs/draw_rooms.py"


def test_every_room_has_a_place_and_a_sentence() -> None:
    page = (DOCS / "contributors.md").read_text()
    for room in SCRIPT["places"](SCRIPT["room_imports"]()):
        assert f"| `{room}" in page, room


def test_what_a_longer_way_implies_is_left_out() -> None:
    imports = {"cli": {"folding", "errors"}, "folding": {"errors"}, "errors": set[str]()}
    assert SCRIPT["direct"](imports) == {"cli": {"folding"}, "folding": {"errors"}, "errors": set()}
    assert SCRIPT["floors"](imports) == [["errors"], ["folding"], ["cli"]]

"""Draws images/rooms.svg: the rooms of the package and their imports, read from its source.

Run `python docs/draw_rooms.py`; a test fails where the picture shows other imports than there are.
"""

import ast
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bnconvert"
PICTURE = Path(__file__).parent / "images" / "rooms.svg"
#: Rooms, and the rooms that each imports from.
Imports = Mapping[str, set[str]]
#: Doors, which import whatever they open.
_DOORS = {"__init__", "__main__"}
#: The column of each room, so that no arrow crosses one (training stands left, deployment right),
#: and what it is for.
_ROOMS = {
    "cli": (1.5, "a file per command"),
    "integrations": (0.0, "Lightning, Transformers"),
    "conversion": (0.0, "plan, convert, prepare"),
    "diagnosis": (1.0, "inspect, diagnose"),
    "exporting": (2.0, "export, verify"),
    "folding": (2.0, "fold, graft"),
    "statistics": (0.65, "recompute_statistics"),
    "verification": (2.0, "the proof of a file"),
    "norms": (0.0, "a normalization per file"),
    "graphs": (2.0, "a model as operators"),
    "modules": (1.0, "find and replace norms"),
    "conventions": (0.0, "other frameworks"),
    "reporting": (1.0, "Report; progress"),
    "numerics": (2.0, "functions of tensors"),
    "errors": (0.5, "errors and refusals"),
    "torch_private": (2.0, "private torch API"),
}
_WIDTH, _HEIGHT = 3.3, 0.7  # of a room
_SPACE, _GAP = 4.3, 1.25  # from column to column, and from floor to floor


def room_imports() -> dict[str, set[str]]:
    """Return which rooms each room imports from, wherever the statements stand."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if room not in _DOORS:
            targets = found.setdefault(room, set())
            targets |= _imported_rooms(ast.parse(path.read_text())) - {room, *_DOORS}
    return found


def drawn_imports() -> dict[str, set[str]]:
    """Return the imports that the picture was drawn from, which it holds as its description."""
    held = re.search(r"imports: (\{.*?\})<", PICTURE.read_text().replace("&quot;", '"'))
    assert held
    return {room: set(targets) for room, targets in json.loads(held[1]).items()}


def _imported_rooms(tree: ast.AST) -> set[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "bnconvert":
            names += [f"bnconvert.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("bnconvert.")}


def direct(imports: Imports) -> dict[str, set[str]]:
    """Return the imports without those that a longer way down implies, which would only clutter."""

    @cache
    def reached(room: str) -> frozenset[str]:
        below = imports.get(room, set())
        return frozenset(below).union(*(reached(next_room) for next_room in below))

    return {
        room: {a for a in below if not any(a in reached(b) for b in below)}
        for room, below in imports.items()
    }


def floors(imports: Imports) -> list[list[str]]:
    """Return the rooms by floor, the lowest first: each stands above all that it imports from."""

    @cache
    def floor(room: str) -> int:
        return max((floor(below) + 1 for below in imports[room]), default=0)

    rows: dict[int, list[str]] = defaultdict(list)
    for room in imports:
        rows[floor(room)].append(room)
    return [rows[number] for number in sorted(rows)]


def places(imports: Imports) -> dict[str, tuple[float, float]]:
    """Return where each room stands: a floor a row, in the column that is given."""
    rows = list(reversed(floors(imports)))
    return {
        room: (_ROOMS[room][0] * _SPACE, -depth * _GAP)
        for depth, row in enumerate(rows)
        for room in row
    }


def draw() -> None:
    """Draw the picture."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt
    from matplotlib.patches import FancyBboxPatch

    mpl.use("Agg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "rooms", "font.family": "sans-serif"}
    imports = room_imports()
    at = places(imports)
    figure, axes = plt.subplots(figsize=(9, 7.6), facecolor="white")
    for room, targets in direct(imports).items():
        for target in targets:
            _arrow(axes, at[room], at[target])
    for room, (x, y) in at.items():
        corner = (x - _WIDTH / 2, y - _HEIGHT / 2)
        style = "round,pad=0,rounding_size=0.1"
        box = FancyBboxPatch(corner, _WIDTH, _HEIGHT, style, fc="#e8eaf6", ec="#3f51b5", zorder=2)
        axes.add_patch(box)
        axes.text(x, y + 0.09, room, ha="center", va="center", weight="bold", fontsize=11)
        axes.text(
            x, y - 0.17, _ROOMS[room][1], ha="center", va="center", fontsize=8, color="#444444"
        )
    right, down = 2 * _SPACE + _WIDTH / 1.9, min(y for _, y in at.values()) - _HEIGHT
    axes.set(xlim=(-_WIDTH / 1.9, right), ylim=(down, _HEIGHT))
    axes.set_axis_off()
    held = json.dumps({room: sorted(targets) for room, targets in imports.items()})
    about = {"Date": None, "Description": f"imports: {held}"}
    figure.savefig(PICTURE, bbox_inches="tight", metadata=about)


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow from the lower edge of a room to the upper edge of another one."""
    (x, y), (to_x, to_y) = start, end
    line = {"arrowstyle": "-|>", "color": "#5c6bc0", "shrinkA": 0, "shrinkB": 0}
    tip, tail = (to_x, to_y + _HEIGHT / 2), (x, y - _HEIGHT / 2)
    axes.annotate("", tip, tail, arrowprops=line, zorder=1)


if __name__ == "__main__":
    draw()

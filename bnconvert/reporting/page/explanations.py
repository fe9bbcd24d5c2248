"""The explanations of findings, as a page shows them: rule, reason and source, in HTML."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup, escape

#: Written by docs/write_findings.py from the catalogue, which stands above this floor.
FILE = Path(__file__).parent / "explanations.json"
_CODE, _EMPHASIS = re.compile(r"`([^`]+)`"), re.compile(r"\*(\w+)\*")


@dataclass(frozen=True)
class Explained:
    """What a finding means, in HTML.

    Attributes:
        title: the symptom, in a few words.
        rule: when it is reported.
        why: what goes wrong otherwise.
        source: papers, or threads in which people met it; "" where there are none.
    """

    title: Markup
    rule: Markup
    why: Markup
    source: Markup


def explained(id: str) -> Explained | None:
    """Return what the finding with an id means; None where the catalogue has no such id."""
    texts = _texts().get(id)
    return None if texts is None else Explained(**{k: _html(v) for k, v in texts.items()})


@cache
def _texts() -> Mapping[str, Mapping[str, str]]:
    found: Mapping[str, Mapping[str, str]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def _html(text: str) -> Markup:
    """Return a sentence of Markdown as HTML: of its marks, code and emphasis."""
    html = _CODE.sub(r"<code>\1</code>", str(escape(text)))
    return Markup(_EMPHASIS.sub(r"<em>\1</em>", html))

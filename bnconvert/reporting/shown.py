"""Shown: what an interpreter and a notebook show of an object that has a report."""

import textwrap
from typing import Any

from bnconvert.reporting.notebook import notebook_html_of
from bnconvert.reporting.records import Contents
from bnconvert.reporting.verdict import judgement

_LONGEST = 300  # characters of a repr


class Shown:
    """An object that is a report, or has one as `report`: in a line as its repr, whole as HTML."""

    def __repr__(self) -> str:
        """Return the verdict in a line; the object's fields would fill pages."""
        verdict = judgement(self._contents())
        text = textwrap.shorten(verdict.text, _LONGEST, placeholder=" ...")
        return f"<{type(self).__name__} {verdict.level}: {text}>"

    def _repr_html_(self) -> str:
        """Return the report as a part of a page, which notebooks show."""
        return notebook_html_of(self._contents())

    def _contents(self) -> Contents:
        contents: Any = getattr(self, "report", self)
        assert isinstance(contents, Contents)
        return contents

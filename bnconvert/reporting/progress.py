"""How far a longer work is: told to whoever asked, or shown as a bar on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Called with how much is done, of how much (None where that is unknown), and what it is.
Progress = Callable[[int, int | None, str], None]


def silent(done: int, total: int | None, what: str) -> None:
    """Say nothing."""


class Steps:
    """The steps of a longer work, of which a `Progress` is told as they begin."""

    def __init__(self, progress: Progress | None, *titles: str) -> None:
        """Take the steps in their order; without a `progress`, nobody is told."""
        self._progress = progress or silent
        self._titles = titles
        self._done = 0

    def begin(self, title: str) -> None:
        """Tell that a step begins, and so that those before it are done."""
        self._done = self._titles.index(title)
        self.tell(title)

    def tell(self, what: str) -> None:
        """Tell what is going on inside the step that has begun."""
        self._progress(self._done, len(self._titles), what)


@contextmanager
def shown(progress: Progress | None = None, *, first: str = "starting") -> Iterator[Progress]:
    """Give `progress` itself, or else a bar on stderr, or on a pipe nothing.

    Args:
        progress: whom the caller wants to be told.
        first: what the bar says until it is told more.
    """
    if progress is not None:
        yield progress
        return
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    # This very stream, since torch's exporters are silenced by redirecting sys.stderr.
    with Bar(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(first, total=None)

        def show(done: int, total: int | None, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield show

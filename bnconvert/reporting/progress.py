"""Progress of long work: reported to the caller's function, or as a bar on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: progress(done, total, what): total is None where it is unknown; what is being done, in words.
Progress = Callable[[int, int | None, str], None]


def silent(done: int, total: int | None, what: str) -> None:
    """Report nothing."""


class Steps:
    """The steps of long work, which are reported to a `Progress` as they begin."""

    def __init__(self, progress: Progress | None, *titles: str) -> None:
        """Take the steps in their order; without a `progress`, nothing is reported."""
        self._progress = progress or silent
        self._titles = titles
        self._done = 0

    def begin(self, title: str) -> None:
        """Report that a step begins; those before it are done."""
        self._done = self._titles.index(title)
        self.tell(title)

    def tell(self, what: str) -> None:
        """Report what is being done in the current step."""
        self._progress(self._done, len(self._titles), what)


@contextmanager
def showing_progress(
    progress: Progress | None = None, *, first: str = "starting"
) -> Iterator[Progress]:
    """Yield the function to report progress to: `progress`, or else one that draws a bar.

    The bar is on stderr; where that is not a terminal, nothing is drawn.

    Args:
        progress: the caller's function, or None.
        first: the text of the bar until something is reported.
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

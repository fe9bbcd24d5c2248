"""A progress bar on stderr, where that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Called with how much is done, of how much (None where that is unknown), and what it is.
Progress = Callable[[int, int | None, str], None]


@contextmanager
def shown(progress: Progress | None) -> Iterator[Progress]:
    """Give `progress` itself, or else a bar, or on a pipe nothing."""
    if progress is not None:
        yield progress
        return
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(done: int, total: int | None, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield show


def _silent(done: int, total: int | None, what: str) -> None:
    """Say nothing."""

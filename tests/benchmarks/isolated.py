"""Run one job per process, so that a crash or an endless loop costs one row and not the run."""

import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Job = Callable[..., Row]
#: What most jobs import, loaded once: the processes are forked from it.
PRELOADED = ["torch", "torch.onnx", "torchvision", "timm", "bnconvert"]


@dataclass
class _Running:
    process: BaseProcess
    answers: Connection
    started: float


def run(
    job: Job, names: Sequence[str], arguments: tuple[Any, ...], *, jobs: int, timeout: float
) -> Iterator[tuple[str, Row]]:
    """Run `job(name, *arguments)` for each name, `jobs` at a time; yield rows as they come.

    A job that raises, dies or takes longer than `timeout` seconds gives a row with an "error".
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # and end the jobs too
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    waiting, running = list(names), dict[str, _Running]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(theirs, job, name, *arguments))
                process.start()
                theirs.close()
                running[name] = _Running(process, ours, time.perf_counter())
            wait([one.answers for one in running.values()], timeout=1.0)
            for name, one in list(running.items()):
                row = _row_of(one, timeout)
                if row is not None:
                    del running[name]
                    yield name, {**row, "seconds": round(time.perf_counter() - one.started, 1)}
    finally:
        for one in running.values():
            one.process.kill()


def _row_of(one: _Running, timeout: float) -> Row | None:
    """Return what a process answered, or that it died or took too long; None for not yet."""
    row: Row | None = None
    if one.answers.poll():
        try:
            row = one.answers.recv()
        except EOFError:
            one.process.join(10)
            row = {"error": f"the process died (exit code {one.process.exitcode})"}
    elif time.perf_counter() - one.started > timeout:
        row = {"error": f"took longer than {timeout:.0f} s"}
        one.process.kill()
    if row is not None:
        one.process.join(10)
        one.answers.close()
    return row


def _work(answers: Connection, job: Job, name: str, *arguments: Any) -> None:
    import torch

    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what packages print is not ours
    try:
        answers.send(job(name, *arguments))
    except Exception as failure:
        answers.send({"error": one_line(failure)})


def one_line(failure: BaseException) -> str:
    """Return the class, the first line and the place of an exception."""
    lines = [line for line in str(failure).splitlines() if line.strip()] or [""]
    place = traceback.extract_tb(failure.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return f"{type(failure).__name__}: {lines[0][:300]} ({where})"


class Rows:
    """Rows by name, kept in a file of one JSON object a line; the last one of a name counts."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        """Read the rows that are there, or start anew."""
        self.path = path
        self.by_name: dict[str, Row] = {}
        if resume and path.exists():
            for line in path.read_text().splitlines():
                row = json.loads(line)
                self.by_name[row["model"]] = row
        elif path.exists():
            path.rename(path.with_suffix(path.suffix + ".old"))

    def add(self, name: str, row: Row) -> None:
        """Keep a row, in the file too."""
        self.by_name[name] = {"model": name, **row}
        with self.path.open("a") as file:
            file.write(json.dumps(self.by_name[name]) + "\n")


def collect(
    job: Job,
    names: Sequence[str],
    arguments: tuple[Any, ...],
    rows: Rows,
    *,
    jobs: int,
    timeout: float,
    say: Callable[[Row], str],
) -> list[Row]:
    """Run what has no row yet, tell the progress on stderr, and return the rows in order."""
    todo = [name for name in names if name not in rows.by_name]
    for done, (name, row) in enumerate(run(job, todo, arguments, jobs=jobs, timeout=timeout), 1):
        rows.add(name, row)
        told = row.get("error") or say(row)
        print(f"[{done}/{len(todo)}] {name} {row['seconds']} s: {told}", file=sys.stderr)
    return [rows.by_name[name] for name in names]

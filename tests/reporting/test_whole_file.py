import errno
import os
import signal
import stat
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.cli.output import write_weights
from bnconvert.errors import OutputError
from bnconvert.reporting.records import StatisticsRow
from bnconvert.reporting.report import Report
from bnconvert.reporting.whole_file import folder_beside, require_writable, whole_file

REPORT = Report(
    "title", statistics=(StatisticsRow("norm", "BatchNorm1d", 3, 9, 0.1, 0.1, 0.01, True, "batch"),)
)
#: Everything that writes a file, but for the ONNX file, which has a test of its own.
WRITERS: dict[str, Callable[[Path], None]] = {
    "r.json": REPORT.to_json,
    "r.html": REPORT.to_html,
    "r.png": lambda path: plotted(path),
    "r.svg": lambda path: plotted(path),
    "w.pt": lambda path: write_weights(nn.BatchNorm1d(300), {}, path),
    "w.safetensors": lambda path: write_weights(nn.BatchNorm1d(300), {}, path),
}


def plotted(path: Path) -> None:
    pytest.importorskip("matplotlib.figure")
    REPORT.plot(path)


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def killed(work: Callable[[], None]) -> None:
    """Do something in a process that is killed at the end of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads
        child = os.fork()
    if not child:
        work()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.parametrize("name", WRITERS)
def test_the_old_file_stays_when_the_new_one_cannot_be_moved(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OutputError, match=r": cannot be written \(No space left.*\); free "):
            WRITERS[name](path)
    assert path.read_text() == "old"
    WRITERS[name](path)
    assert path.read_bytes() != b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_too_large_for_its_disk_is_said_so(name: str, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot be written \(.*\); free some space there"):
            WRITERS[name](tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WRITERS)
def test_a_place_that_may_not_be_written_is_said_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    with pytest.raises(OutputError, match=r"is read-only\); choose a place where you may write"):
        WRITERS[name](tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_folders_and_missing_folders_are_found_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder; name a file"):
        require_writable(tmp_path)
    with pytest.raises(OutputError, match=r"there is no folder .*; make it first"):
        require_writable(tmp_path / "nowhere" / "r.json")
    require_writable(tmp_path / "r.json")


def test_a_place_that_refuses_only_when_it_is_tried_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(OutputError, match=r"r.json: cannot be written \(Permission denied\); ch"):
        REPORT.to_json(tmp_path / "r.json")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(
    error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def write() -> None:
        with whole_file(path) as file:
            file.write_text("half")
            raise error

    with pytest.raises((OutputError, KeyboardInterrupt)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")

    def half() -> None:
        with whole_file(path) as file:
            file.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    killed(half)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    REPORT.to_json(path)
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "a") as mine:
        (mine / "half").write_text("half")
        REPORT.to_json(tmp_path / "r.json")
        assert (mine / "half").exists()
        killed(lambda: REPORT.to_json(tmp_path / "other.json"))
        assert (mine / "half").exists()
    assert {file.name for file in tmp_path.iterdir()} == {"r.json", "other.json"}


def test_a_folder_without_a_lock_is_removed_when_it_is_old(tmp_path: Path) -> None:
    (tmp_path / ".bnconvert-young").mkdir()
    (tmp_path / ".bnconvert-mine.txt").write_text("a file is never removed")
    REPORT.to_json(tmp_path / "r.json")
    assert (tmp_path / ".bnconvert-young").exists()
    with pytest.MonkeyPatch.context() as patch:
        later = time.time() + 3600
        patch.setattr(time, "time", lambda: later)
        REPORT.to_json(tmp_path / "r.json")
    assert {file.name for file in tmp_path.iterdir()} == {"r.json", ".bnconvert-mine.txt"}


def test_links_and_permissions_survive_and_devices_are_written_to(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "r.json", tmp_path / "link.json"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    REPORT.to_json(link)
    assert link.is_symlink()
    assert '"title"' in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    REPORT.to_json(os.devnull)
    assert not Path(os.devnull).is_file()


def test_a_model_keeps_its_statistics_when_activations_cannot_be_moved_to_a_full_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 64), nn.BatchNorm1d(64))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(bnc.StatisticsError, match=r"No space left.*; free some space, set TMPDIR"):
        bnc.recompute_statistics(model, [torch.rand(64, 64)] * 3, memory_limit=0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())

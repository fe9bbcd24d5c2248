"""What ends an export, at any moment, leaves the old file or the new one, and nothing else."""

import errno
import os
import random
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.exporting.writing import onnx_file, onnx_weights
from bnconvert.reporting.whole_file import folder_beside

X = torch.rand(2, 40, generator=torch.Generator().manual_seed(0))


def network(seed: int) -> nn.Module:
    model = nn.Sequential(nn.Linear(40, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 2)).eval()
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model


def outputs(path: Path) -> Tensor:
    return torch.from_numpy(onnxruntime.InferenceSession(path).run(None, {"input": X.numpy()})[0])


def is_of(path: Path, model: nn.Module) -> bool:
    return torch.allclose(outputs(path), model(X), rtol=1e-4)


def in_another_process(work: Callable[[], object]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads
        child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an exported file and its reports."""
    folder = tmp_path_factory.mktemp("exported")
    write_with_reports(folder)
    return folder


def write_with_reports(folder: Path) -> None:
    """Export to a folder, with both reports, of which a page states the time of the build."""
    report = bnc.export(network(0), (X,), folder / "m.onnx")
    report.to_json(folder / "m.json")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOURCE_DATE_EPOCH", "1000000000")
        report.to_html(folder / "m.html")


@pytest.fixture
def there(exported: Path, tmp_path: Path) -> Iterator[Path]:
    """The file of an older model, where another one is to be exported to."""
    path = tmp_path / "m.onnx"
    shutil.copy(exported / "m.onnx", path)
    yield path
    assert is_of(path, network(0))
    assert list(tmp_path.iterdir()) == [path]


def full(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["write", "move"])
def test_a_full_disk_is_called_so_at_every_step(
    step: str, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if step == "write":
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    else:
        monkeypatch.setattr(onnx_weights, step, full)
    try:
        with pytest.raises(bnc.ExportError) as failure:
            bnc.export(network(1), (X,), there)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    words = r"m\.onnx: cannot be written \((No space left on device|.*[Ff]ile too large.*)\); free"
    assert failure.match(words)
    assert "operator" not in str(failure.value)


@pytest.mark.parametrize("step", ["write", "move"])
def test_control_c_leaves_the_old_file(
    step: str, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    module = onnx_file if step == "write" else onnx_weights
    monkeypatch.setattr(module, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        bnc.export(network(1), (X,), there)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (".", r"is a folder; name a file"),
        ("nowhere/m.onnx", r"there is no folder"),
        (os.devnull, r"is not a file"),
        ("m.onnx", r"is read-only\); choose a place where you may write"),
    ],
)
def test_a_place_where_no_file_can_be_is_found_before_the_work(
    place: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "m.onnx":
        monkeypatch.setattr(os, "access", lambda *_: False)
    model = network(1)
    worked: list[int] = []
    model.register_forward_hook(lambda *_: worked.append(1))
    with pytest.raises(bnc.ExportError, match=words):
        bnc.export(model, (X,), tmp_path / place, calibration=[X])
    assert not worked
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_exports_that_are_killed_leave_the_old_file_or_the_new_one(
    exported: Path, there: Path
) -> None:
    """benchmarks/killed_exports.py does it 50 times; the next export removes what they left."""
    moments = random.Random(0)
    for _ in range(3):
        child = in_another_process(lambda: bnc.export(network(1), (X,), there))
        time.sleep(moments.uniform(0.02, 0.5))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert is_of(there, network(0)) or is_of(there, network(1))
    with folder_beside(there):
        assert len(names_in(there.parent)) == 2, "what was left is gone"
    shutil.copy(exported / "m.onnx", there)


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="a fork beside threads may stand still, and did on 3.12.1"
)
def test_a_forked_process_exports_though_its_parent_has_differentiated(
    exported: Path, tmp_path: Path
) -> None:
    """torch refuses a backward pass there: what weights move is then tried without."""
    torch.ones(2, requires_grad=True).sum().backward()
    child = in_another_process(lambda: bnc.export(network(1), (X,), tmp_path / "m.onnx"))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert names_in(tmp_path) == {"m.onnx"}
    assert is_of(tmp_path / "m.onnx", network(1))


def names_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_two_exports_are_byte_for_byte_the_same(exported: Path, tmp_path: Path) -> None:
    write_with_reports(tmp_path)
    for name in names_in(tmp_path):
        assert (tmp_path / name).read_bytes() == (exported / name).read_bytes()

"""README's commands, examples and names are real."""

import re
from pathlib import Path

import pytest
import torch

import bnconvert as bnc
from bnconvert.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(heading: str) -> str:
    """Return the commands of the block below a heading."""
    found = re.search(rf"^## {heading}$.*?^```sh$\n(.*?)^```$", README, re.S | re.M)
    assert found, heading
    return found.group(1)


@pytest.mark.parametrize("heading", ["Run it", "Test it"])
def test_a_command_sets_up_everything_itself(heading: str) -> None:
    lines = block(heading).splitlines()
    assert lines[0] == "python3.11 -m venv .venv"
    assert re.match(r"\.venv/bin/pip install .*'\.\[\w+\]'", lines[1])
    assert all(line.startswith(".venv/bin/") for line in lines[1:])


def test_one_command_does_the_main_job_and_one_runs_the_tests() -> None:
    assert (ROOT / "samples" / "efficientnet_lite0.py").is_file()
    assert ".venv/bin/python samples/efficientnet_lite0.py" in block("Run it")
    assert block("Test it").endswith(".venv/bin/python -m pytest\n")


def test_the_gate_takes_both_commands_from_here() -> None:
    gate = (ROOT / ".ci" / "run").read_text()
    assert "readme_block 'Test it'" in gate
    assert "readme_block 'Run it'" in gate
    for heading in ("Run it", "Test it"):
        assert block(heading).splitlines()[1] not in gate  # copied, it could drift


@pytest.mark.parametrize("code", re.findall(r"^```python$\n(.*?)^```$", README, re.S | re.M))
def test_the_example_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    if "export" in code:
        report = names["report"]
        assert isinstance(report, bnc.Report)
        assert report.count("folded") == 2
        assert (tmp_path / "model.onnx").is_file()
        return
    if "fold" in code:
        folded, grafted = names["folded"], names["grafted"]
        assert isinstance(folded, bnc.Folded)
        assert folded.report.count("folded") == 3
        assert isinstance(grafted, torch.nn.Module)
        assert isinstance(grafted.get_submodule("wide.1"), torch.nn.Identity)
        return
    net = names["net"]
    assert isinstance(net, torch.nn.Module)
    assert net.get_buffer("1.num_batches_tracked") == (8 if "diagnose" in code else 1)


def test_every_name_exists() -> None:
    mentioned = set(re.findall(r"\bbnc\.(\w+)", README))
    assert {"plan", "convert", "export"} <= mentioned
    assert mentioned <= set(dir(bnc))


def test_every_command_exists() -> None:
    mentioned = set(re.findall(r"`bnconvert (\w+)", README))
    assert mentioned == {command.name for command in app.registered_commands}


def test_every_room_and_file_that_is_listed_exists_and_no_room_is_left_out() -> None:
    listing = README.partition("## Where things are")[2]
    listed = {name.rstrip("/") for name in re.findall(r"`(\w+(?:/|\.py))`", listing)}
    package = ROOT / "bnconvert"
    assert listed <= {path.name for path in package.rglob("*")}
    rooms = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= listed

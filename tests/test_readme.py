"""README's commands, examples, figures and names are real, and it is short."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import bnconvert as bnc
from bnconvert.cli import app
from bnconvert.conversion.policy import Policy
from tests.document import ROOT, blocks, run_document
from tests.torch_release import needs_torch

README = (ROOT / "README.md").read_text()
PAGES = {path: path.read_text() for path in (ROOT / "docs").rglob("*.md")}


def command(heading: str) -> str:
    """Return the command of the block below a heading."""
    found = re.search(rf"^## {heading}$.*?^```sh$\n(.*?)^```$", README, re.S | re.M)
    assert found, heading
    return found.group(1)


def table(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, row by row, without its head."""
    below = README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_it_is_read_in_a_minute() -> None:
    assert len(README.splitlines()) <= 150
    headings = re.findall(r"^## (.*)$", README, re.M)
    assert headings[:5] == ["Do I need it?", "Run it", "Test it", "Ten lines", "Which norm?"]


@pytest.mark.parametrize("heading", ["Run it", "Test it"])
def test_a_setup_is_one_line_that_makes_its_environment(heading: str) -> None:
    assert command(heading).count("\n") == 1
    make, install, run = command(heading).strip().split(" && ")
    assert make == "python3 -m venv .venv"
    assert re.fullmatch(r"\.venv/bin/pip install --quiet (-e )?'\.\[\w+\]'", install)
    assert run.startswith(".venv/bin/python ")


def test_one_command_does_the_main_job_and_one_runs_the_tests() -> None:
    assert (ROOT / "samples" / "efficientnet_lite0.py").is_file()
    assert ".venv/bin/python samples/efficientnet_lite0.py" in command("Run it")
    assert command("Test it").endswith(".venv/bin/python -m pytest\n")


def test_the_gate_takes_both_commands_from_here() -> None:
    gate = (ROOT / ".ci" / "run").read_text()
    for heading in ("Run it", "Test it"):
        assert f"readme_block '{heading}'" in gate
        assert command(heading).split(" && ")[1] not in gate  # copied, it could drift


@needs_torch(2, 13, "a norm's repr does not say whether it has a bias")
def test_the_ten_lines_run_and_print_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_document(ROOT / "README.md")
    languages = [block.language for block in blocks(README)]
    assert languages.count("python") == languages.count("text") == 1
    report, tuned = names["report"], names["tuned"]
    assert isinstance(report, bnc.Report)
    assert report.count("folded") == 2
    assert isinstance(tuned, torch.nn.Module)
    assert (tmp_path / "model.onnx").is_file()


@pytest.mark.parametrize("row", table("Do I need it?"), ids=lambda row: row[0])
def test_what_a_command_says_is_what_a_page_shows(row: list[str]) -> None:
    _, run, says = row
    words = shlex.split(run.strip("`"))
    assert words[0] == "bnconvert"
    assert words[1] in {known.name for known in app.registered_commands}
    if "--policy" in words:
        Policy.parse([words[words.index("--policy") + 1]])
    quoted = re.findall(r"`([^`]+)`", says)
    assert quoted
    for text in quoted:
        pattern = re.escape(text).replace(re.escape("..."), r".*")
        assert any(
            re.search(pattern, block.text)
            for page in PAGES.values()
            for block in blocks(page)
            if block.language in ("text", "console")
        ), text


def test_every_file_that_is_linked_is_there_or_is_a_page_of_the_site() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert "docs/images/false_overfitting.png" in links
    for link in links:
        assert (ROOT / link).is_file(), link
    for script in re.findall(r"`(samples/\w+\.py)`", README):
        assert (ROOT / script).is_file(), script
    for module in re.findall(r"python -m ([\w.]+)`", README):
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), module


def test_figures_are_those_of_the_pages() -> None:
    shipped = PAGES[ROOT / "docs" / "jobs" / "ship-to-onnx.md"]
    domains = PAGES[ROOT / "docs" / "jobs" / "several-domains.md"]
    for figure in ("28,670", "31,858", "0.97", "0.98", "0.28"):
        assert figure in README, figure
        assert figure in shipped, figure
    for figure in ("66.4", "4.5"):
        assert figure in README, figure
        assert figure in domains, figure


def test_every_name_exists() -> None:
    for text in (README, *PAGES.values()):
        assert set(re.findall(r"\bbnc\.(\w+)", text)) <= set(dir(bnc))
    rewrites = re.findall(r"`(\w+)\(", "\n".join(row[1] for row in table("Which norm?")))
    assert {"Keep", "Frozen", "Group", "Separate"} <= set(rewrites) <= set(dir(bnc))


def test_every_command_exists() -> None:
    commands = {known.name for known in app.registered_commands}
    for text in (README, PAGES[ROOT / "docs" / "command-line.md"]):
        assert set(re.findall(r"`bnconvert (\w+)", text)) == commands

"""Every command's report in every format."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from bnconvert.cli.reports.formats import formatted, save
from bnconvert.cli.reports.report_options import FormatName
from bnconvert.reporting.report import Report
from tests.cli.conftest import Result, Run
from tests.json_schema import wrong
from tests.sarif_schema import SARIF

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA: dict[str, Any] = json.loads((DOCS / "reference" / "report.schema.json").read_text())
LOADER = "import torch\ndef batches():\n    return [torch.randn(8, 3, 8, 8)]\n"


def described(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report that is as the schema says, and has nothing that the schema does not know."""
    strict = {**SCHEMA, "additionalProperties": False}
    strict["$defs"] = {
        name: {**record, "additionalProperties": False} for name, record in SCHEMA["$defs"].items()
    }
    assert wrong(report, strict) == []
    return report


def printed(result: Result) -> dict[str, Any]:
    """Return what a command printed for a program: all of stdout is one report."""
    return described(json.loads(result.out))


def test_the_published_schema_is_up_to_date() -> None:
    written = runpy.run_path(str(DOCS / "write_report_schema.py"))["text"]()
    file = DOCS / "reference" / "report.schema.json"
    assert file.read_text() == written, "run python docs/write_report_schema.py"


def test_the_report_of_every_command_is_as_the_schema_says(run: Run, factory: str) -> None:
    Path("data.py").write_text(LOADER)
    model, json_ = f"{factory}:plain", ["--format", "json"]
    data = ["--data", "data.py:batches"]
    assert printed(run("inspect", model, *json_))["norms"]
    assert printed(run("diagnose", f"{factory}:classifier", *data, *json_))["statistics"]
    assert printed(run("recompute", model, *data, "-o", "p.pt", *json_))["statistics"]
    assert printed(run("fold", model, *json_))["norms"]
    exported = run("export", model, "-o", "m.onnx", *json_)
    assert printed(exported)["checks"]
    assert "wrote m.onnx" in exported.err
    failed = run("verify", f"{factory}:without_statistics", "m.onnx", *json_)
    assert failed.code == 3
    assert printed(failed)["verdict"] == "differs"
    run("convert", model, "--policy", "Frozen()", "--report", "plan.json")
    assert described(json.loads(Path("plan.json").read_text()))["norms"]


def test_findings_are_for_code_scanners_workflows_and_comments(run: Run, factory: str) -> None:
    model = f"{factory}:own_forward"
    log = run("inspect", model, "--format", "sarif", "--report", "r.sarif")
    assert log.code == 1
    assert wrong(json.loads(log.out), SARIF) == []
    assert json.loads(Path("r.sarif").read_text()) == json.loads(log.out)
    results = json.loads(log.out)["runs"][0]["results"]
    (result,) = [result for result in results if result["ruleId"] == "BN012"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == factory
    line = Path(factory).read_text().splitlines()[place["region"]["startLine"] - 1]
    assert line == "def own_forward():"
    lines = run("inspect", model, "--format", "github").out.splitlines()
    assert lines[0].startswith(f"::error file={factory},line={place['region']['startLine']},title=")
    text = run("inspect", model, "--format", "markdown", "--report", "r.md").out
    assert text.startswith("**FAIL** ")
    assert Path("r.md").read_text().strip() == text.strip()


def test_a_file_that_differs_is_printed_for_programs_too(run: Run, factory: str) -> None:
    assert run("export", f"{factory}:plain", "-o", "m.onnx", "--quiet").out.count("\n") == 1
    failed = run(
        *("verify", f"{factory}:without_statistics", "m.onnx", "--format", "sarif"),
        *("--report", "r.md"),
    )
    assert failed.code == 3
    assert wrong(json.loads(failed.out), SARIF) == []
    assert Path("r.md").read_text().startswith("**FAIL** ")


def test_a_project_sets_the_format_and_the_command_line_wins(run: Run, factory: str) -> None:
    Path("pyproject.toml").write_text("[tool.bnconvert]\nformat = 'json'\n")
    assert printed(run("inspect", f"{factory}:plain"))
    assert run("inspect", f"{factory}:plain", "--format", "text", "-q").out.startswith("OK  ")
    both = run("inspect", f"{factory}:plain", "-q", "-v", "--format", "text")
    assert (both.code, "--verbose and --quiet: give one of them" in both.err) == (2, True)


@pytest.mark.parametrize(
    ("name", "begins"),
    [("r.html", "<!doctype html>"), ("r.MD", "**OK** t"), ("r.sarif", "{"), ("r.json", "{")],
)
def test_a_file_has_the_format_of_its_suffix(tmp_path: Path, name: str, begins: str) -> None:
    save(Report("t"), tmp_path / name, "inspect net.py:f")
    text = (tmp_path / name).read_text()
    assert text.startswith(begins)
    assert text.endswith("\n")
    save(Report("t"), None, "inspect net.py:f")


def test_text_is_that_of_a_report() -> None:
    assert formatted(Report("t"), FormatName.text, "inspect net.py:f") == "t"

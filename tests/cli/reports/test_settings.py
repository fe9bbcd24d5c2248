from pathlib import Path

import pytest

from bnconvert.cli.reports.report_options import FailLevel
from bnconvert.cli.reports.settings import Settings, project_settings
from bnconvert.errors import UsageError

TABLE = """
[project]
name = "mine"

[tool.bnconvert]
select = ["BN0", "BN2"]
ignore = "BN009"
fail-on = "warning"
baseline = "ci/known.json"
"""


def write(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_the_nearest_file_that_has_any_speaks_for_the_folders_below(tmp_path: Path) -> None:
    inner = tmp_path / "one" / "two"
    inner.mkdir(parents=True)
    write(tmp_path, TABLE)
    write(tmp_path / "one", "[tool.ruff]")
    assert project_settings(inner) == Settings(
        ("BN0", "BN2"), ("BN009",), FailLevel.warning, tmp_path / "ci" / "known.json"
    )


def test_a_project_that_says_nothing_has_the_defaults(tmp_path: Path) -> None:
    assert project_settings(write(tmp_path, "[tool.bnconvert]")) == Settings()
    assert project_settings(tmp_path / "missing") == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fail_on = 'error'", "has no key fail_on; did you mean fail-on?"),
        ("ingore = []", "has no key ingore; did you mean ignore?"),
        ("zebra = 1", "has no key zebra; the keys are baseline, fail-on, "),
        ("fail-on = 'loud'", "'loud' is not a valid FailLevel; fail-on is one of error, warning"),
        ("select = 3", "3 is no list of ids"),
        ("select = ['BN999']", "BN999: no finding has an id that begins so"),
        ("baseline = 3", "baseline: is no text; write the path of a file"),
        ("= 3", "cannot be read"),
    ],
)
def test_a_wrong_setting_is_a_usage_error(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as failure:
        project_settings(write(tmp_path, f"[tool.bnconvert]\n{text}"))
    assert said in str(failure.value)
    assert "pyproject.toml" in str(failure.value)


def test_the_table_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no table"):
        project_settings(write(tmp_path, "tool.bnconvert = 3"))

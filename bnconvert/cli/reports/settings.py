"""Settings: what [tool.bnconvert] in pyproject.toml says; the command line wins."""

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnconvert.cli.reports.report_options import FailLevel, FormatName
from bnconvert.cli.values import finding_ids
from bnconvert.errors import UsageError

_FILE = "pyproject.toml"
KEYS = ("baseline", "fail-on", "format", "ignore", "select")


@dataclass(frozen=True)
class Settings:
    """What a project says for all commands that report; None and () where it says nothing."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: FailLevel | None = None
    baseline: Path | None = None
    format: FormatName | None = None


def project_settings(folder: Path) -> Settings:
    """Return the settings of the nearest pyproject.toml, from a folder up, that has any.

    Raises:
        UsageError: it cannot be read, or has an unknown key or a wrong value.
    """
    for place in (folder, *folder.parents):
        file = place / _FILE
        if file.is_file():
            table = _table(file)
            if table is not None:
                return _settings(file, table)
    return Settings()


def _table(file: Path) -> Any:
    """Return [tool.bnconvert] of a file, or None where it has none."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("bnconvert")
    except (OSError, ValueError, AttributeError) as failure:
        raise UsageError(f"{file}: cannot be read ({failure}); mend the file") from None


def _settings(file: Path, table: Any) -> Settings:
    where = f"{file}: [tool.bnconvert]"
    if not isinstance(table, dict):
        raise UsageError(f"{where} is no table; write one, such as fail-on = 'warning'")
    for key in table:
        if key not in KEYS:
            near = difflib.get_close_matches(key.replace("_", "-"), KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(KEYS)}"
            raise UsageError(f"{where} has no key {key}; {hint}")
    baseline = table.get("baseline")
    if not isinstance(baseline, str | None):
        raise UsageError(f"{where} baseline: is no text; write the path of a file")
    try:
        return Settings(
            select=_ids(table.get("select")),
            ignore=_ids(table.get("ignore")),
            fail_on=None if (level := table.get("fail-on")) is None else FailLevel(level),
            baseline=None if baseline is None else file.parent / baseline,
            format=None if (name := table.get("format")) is None else FormatName(name),
        )
    except (ValueError, UsageError) as failure:
        levels, names = ", ".join(FailLevel), ", ".join(FormatName)
        raise UsageError(
            f"{where}: {failure}; fail-on is one of {levels}, format one of {names}, select and "
            "ignore are lists of ids"
        ) from None


def _ids(value: Any) -> tuple[str, ...]:
    """Return the ids of a list; of a text, its one."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | None) or not all(isinstance(id, str) for id in value or ()):
        raise UsageError(f"{value!r} is no list of ids; write one")
    return tuple(finding_ids(value) or ())

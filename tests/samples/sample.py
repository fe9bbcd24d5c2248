"""A sample: imported by its path, and the table that it prints."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

SAMPLES = Path(__file__).parents[2] / "samples"


def sample(name: str, *packages: str) -> ModuleType:
    """Import a sample by its path; skip the test where it lacks one of the packages."""
    for package in packages:
        pytest.importorskip(package)
    spec = importlib.util.spec_from_file_location(name, SAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table_of(printed: str) -> dict[str, list[float]]:
    """Return the numbers of each indented row, by its name."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines() if line[:2] == "  "]
    return {name: [float(number) for number in numbers] for name, *numbers in rows}

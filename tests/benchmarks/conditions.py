"""Under which conditions figures come about: the packages, the processor, what is missing."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "timm", "torchvision")


def without_missing(
    columns: Sequence[str], packages: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return the columns whose package is there, and a sentence about every other one."""
    missing = {column: packages[column] for column in columns if not _is_there(packages, column)}
    told = [
        f"{column} is left out: {package} is not installed; pip install {package}"
        for column, package in missing.items()
    ]
    return [column for column in columns if column not in missing], told


def _is_there(packages: Mapping[str, str], column: str) -> bool:
    return column not in packages or find_spec(packages[column]) is not None


def described(packages: Sequence[str]) -> str:
    """Return the versions of packages that are installed, and the processor, in one line."""
    found = []
    for package in dict.fromkeys((*PACKAGES, *packages)):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return f"{', '.join(found)}; Python {platform.python_version()}; {_processor()}"


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()

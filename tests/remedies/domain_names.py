"""Rows for what the command line reads domains from: --domains."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bnconvert.cli.sources.data_source import load_data
from bnconvert.cli.sources.images import ImagePreprocessing
from tests.remedies.row import Row
from tests.zoo import Net


def named(folder: Path, where: str, kind: str = "npz") -> list[Any]:
    """Read data whose domains are named somewhere, and the domain of each batch."""
    images = np.zeros((4, 3, 8, 8), dtype=np.float32)
    np.savez(folder / "d.npz", x=images, light=np.array(["day", "night"] * 2))
    code = folder / f"names_{folder.name}.py"
    code.write_text(
        "import torch\n"
        "def batches(): return [torch.zeros(2, 3, 8, 8)]\n"
        "def of(batch): return 'day'\n"
        "def bad(batch): raise KeyError('day')\n"
        "number = 3\n"
    )
    source = f"npz:{folder / 'd.npz'}" if kind == "npz" else f"{code}:batches"
    where = where.replace("mine", str(code))
    data = load_data(source, Net(), 2, ImagePreprocessing(), domains=where)
    assert data.domains is not None
    with torch.no_grad():
        return [data.domains(batch) for batch in data.batches]


DOMAIN_NAMES = (
    Row(
        "cli/sources/npz.py",
        "with the domain",
        lambda folder: named(folder, "weather"),
        lambda folder: named(folder, "light"),
    ),
    Row(
        "cli/sources/domain_names.py",
        "have no such names",
        lambda folder: named(folder, "light", "loader"),
        lambda folder: (named(folder, "mine:of", "loader"), named(folder, "light")),
    ),
    Row(
        "cli/sources/domain_names.py",
        "is not a function",
        lambda folder: named(folder, "mine:number", "loader"),
        lambda folder: named(folder, "mine:of", "loader"),
    ),
    Row(
        "cli/sources/domain_names.py",
        "return a name for the batch",
        lambda folder: named(folder, "mine:bad", "loader"),
        lambda folder: named(folder, "mine:of", "loader"),
    ),
)

"""The example in the docstring of every public name runs and prints what it says."""

import doctest
import inspect
from pathlib import Path

import pytest
import torch
from torch import nn

import bnconvert as bnc

#: What the reference says that examples assume.
IMPORTED = {"bnc": bnc, "nn": nn, "torch": torch}
#: Long lines may be shortened, and what is random left out, by "...".
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", sorted({*dir(bnc)} - {"NORM_CLASSES"}))
def test_the_example_prints_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    documented = inspect.getdoc(getattr(bnc, name)) or ""
    examples = doctest.DocTestParser().get_doctest(documented, dict(IMPORTED), name, None, 0)
    assert examples.examples, f"the docstring of {name} has no example"
    printed: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(examples, out=printed.append)
    assert not result.failed, "".join(printed)

"""The example in the docstring of every public name runs and prints what it says."""

import doctest
import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

import bnconvert as bnc

#: What the reference says that examples assume.
IMPORTED = {"bnc": bnc, "nn": nn, "torch": torch}
#: Long lines may be shortened, and what is random left out, by "...".
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


#: The protocol of a rewrite, and steps of `convert` and `restore`: for who adds one to the package.
FOR_CONTRIBUTORS = {
    *("why_not", "attributes", "caution", "edits", "is_already_done"),
    *("require_legal", "require_used", "require_any"),
}


#: What an example needs that not everybody has installed.
NEEDED = {"to_frame": "pandas", "plot": "matplotlib"}


def members(holder: object) -> dict[str, object]:
    """Return what a public class or module defines for its users: methods and functions."""
    own = vars(holder)
    found = {n: getattr(v, "__func__", v) for n, v in own.items() if not n.startswith("_")}
    home = holder.__name__ if inspect.ismodule(holder) else None
    return {
        name: value
        for name, value in found.items()
        if inspect.isfunction(value)
        and name not in FOR_CONTRIBUTORS
        and (home is None or value.__module__ == home)
    }


def public_holders() -> list[str]:
    named = {name: getattr(bnc, name) for name in dir(bnc)}
    return [n for n, v in named.items() if inspect.isclass(v) or inspect.ismodule(v)]


def example_of(name: str, documented: object) -> doctest.DocTest:
    text = inspect.getdoc(documented) or ""
    return doctest.DocTestParser().get_doctest(text, dict(IMPORTED), name, None, 0)


@pytest.mark.parametrize("name", public_holders())
def test_every_method_is_shown_in_an_example_that_prints_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = getattr(bnc, name)
    monkeypatch.chdir(tmp_path)
    examples = {member: example_of(member, value) for member, value in members(holder).items()}
    every = [example_of(name, holder), *examples.values()]
    shown = "\n".join(step.source for example in every for step in example.examples)
    for member, example in examples.items():
        assert re.search(rf"\b{member}\(", shown), f"no example shows {name}.{member}"
        if member in NEEDED and find_spec(NEEDED[member]) is None:
            continue
        torch.manual_seed(0)
        printed: list[str] = []
        result = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=printed.append)
        assert not result.failed, "".join(printed)


@pytest.mark.parametrize("name", sorted({*dir(bnc)} - {"NORM_CLASSES"}))
def test_the_example_prints_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    examples = example_of(name, getattr(bnc, name))
    assert examples.examples, f"the docstring of {name} has no example"
    printed: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(examples, out=printed.append)
    assert not result.failed, "".join(printed)

import importlib
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnconvert.torch_private.compilation import is_compiled, is_compiled_in_place, uncompiled


class Traced(nn.Module):
    """Doubles, and knows whether a compiler runs it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if torch.compiler.is_compiling() else x * 3


def test_what_torch_compile_made_is_compiled_and_leads_to_the_model() -> None:
    model = Traced()
    compiled: Any = torch.compile(model, backend="eager")  # torch gives it no class
    assert is_compiled(compiled)
    assert not is_compiled(model)
    assert compiled._orig_mod is model  # as our error message advises


def test_a_module_that_compiles_itself_is_seen() -> None:
    model = Traced()
    assert not is_compiled_in_place(model)
    model.compile(backend="eager")
    assert is_compiled_in_place(model)
    assert not is_compiled(model)


@pytest.mark.parametrize("in_place", [False, True])
def test_uncompiled_python_code_runs_for_a_while(in_place: bool) -> None:
    model: Any = Traced()  # torch.compile says nothing of what it returns
    if in_place:
        model.compile(backend="eager")
    else:
        model = torch.compile(model, backend="eager")
    x = torch.ones(1)
    assert model(x) == 2
    with uncompiled():
        assert model(x) == 3
    assert model(x) == 2


def test_to_ask_does_not_import_the_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from bnconvert.torch_private.compilation import is_compiled, uncompiled\n"
        "model = torch.nn.ReLU()\n"
        "assert not is_compiled(model)\n"
        "with uncompiled(): model(torch.ones(1))\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_compiler_that_another_thread_is_importing_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = importlib.import_module("torch._dynamo")
    monkeypatch.setitem(sys.modules, "torch._dynamo", ModuleType("torch._dynamo"))
    monkeypatch.setattr(importlib, "import_module", lambda name: whole)
    assert not is_compiled(Traced())
    with uncompiled():
        assert int(Traced()(torch.ones(()))) == 3

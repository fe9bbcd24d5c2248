from typing import Any

import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.modules.wrappers import unwrapped
from tests.zoo import Net


def test_a_model_is_found_inside_of_its_wrappers() -> None:
    model = Net()
    assert unwrapped(model) == (model, ())
    assert unwrapped(nn.DataParallel(model)) == (model, ("module",))


@pytest.mark.slow  # to import the compiler takes seconds
def test_a_compiled_model_is_found_inside_of_another_wrapper() -> None:
    model = Net()
    compiled: Any = torch.compile(nn.DataParallel(model))
    assert unwrapped(compiled) == (model, ("_orig_mod", "module"))


def test_inspect_looks_into_wrappers_and_says_where_paths_begin() -> None:
    plain, wrapped = (bnc.inspect(m) for m in (Net(), nn.DataParallel(Net())))
    assert wrapped.norms == plain.norms
    assert wrapped.findings == plain.findings
    (note,) = wrapped.notes
    assert note.startswith("the model is wrapped: paths begin at model.module, ")

"""What leads back to a model and cannot be led to its copy is refused; what does not, stays."""

import sys
import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.errors import UnsupportedModelError
from bnconvert.modules.copies.copying import copy_model
from tests.modules.nested_net import GLOBAL, Holder, Net, X

other_file: Any = None


def test_what_does_not_lead_back_stays_the_same_object() -> None:
    model, seen = Net(), []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        seen.append(1)

    vars(model)["activation"] = torch.relu
    model.register_forward_hook(note)
    twin = copy_model(model)
    assert list(twin._forward_hooks.values()) == [note]
    assert vars(twin)["activation"] is torch.relu
    twin(X)
    assert seen == [1]


class Registered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        GLOBAL["registered"] = self

    def forward(self, x: Tensor) -> Any:
        return GLOBAL["registered"].norm(x)


@pytest.fixture
def another_file(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("other_file")
    monkeypatch.setitem(sys.modules, "other_file", module)
    monkeypatch.setitem(globals(), "other_file", module)
    return module


def test_a_class_that_reads_the_model_from_a_variable_is_refused() -> None:
    model = Registered()
    with pytest.raises(UnsupportedModelError, match=r"\(root\): the forward of its class reads"):
        bnc.convert(model, bnc.Frozen())
    assert bnc.convert(model, bnc.Frozen(), inplace=True) is model  # as the message advises


def test_a_variable_of_another_file_is_refused(another_file: Any) -> None:
    model = Net()
    another_file.run = model.inner.forward
    vars(model.inner)["forward"] = lambda x: other_file.run(x)
    said = r"inner\.forward: leads back to the model, .* reads other_file\.run of .*inplace=True$"
    with pytest.raises(UnsupportedModelError, match=said):
        bnc.convert(model, bnc.Frozen())


def test_what_cannot_be_copied_but_leads_back_is_refused_by_its_place() -> None:
    model = Net()
    holder = Holder((model.inner, (row for row in range(3))))
    vars(model.outer)["forward"] = lambda x: holder.run[0](x)
    with pytest.raises(UnsupportedModelError, match=r"^outer\.forward: leads back to the model"):
        copy_model(model)

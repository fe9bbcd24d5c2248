import copy
import warnings

import pytest
import torch
from torch import Tensor, fx, nn

import bnconvert as bnc
from bnconvert.errors import CaptureError
from bnconvert.modules.folded_module import FoldedModule, SizeCheck


def test_a_folded_module_is_for_inference() -> None:
    root = nn.Linear(2, 2)
    module = FoldedModule(root, fx.symbolic_trace(root).graph)
    assert not module.train(False).training
    with pytest.raises(bnc.FoldedTrainingError, match="fine-tune the unfolded model"):
        module.train()
    assert torch.equal(module(torch.ones(1, 2)), root(torch.ones(1, 2)))


def test_it_says_which_size_it_was_not_made_for() -> None:
    root = nn.Linear(3, 2).eval()
    program = torch.export.export(root, (torch.ones(4, 3),))
    module = FoldedModule.of(program.module())
    assert module(torch.ones(4, 3)).shape == (4, 2)
    with pytest.raises(CaptureError, match=r"where input\.shape\[0\] == 4; fold the model again"):
        module(torch.ones(5, 3))


def test_a_graph_that_checks_nothing_is_taken_as_it_is() -> None:
    module = FoldedModule.of(fx.symbolic_trace(nn.Linear(2, 2)))
    assert module(torch.ones(1, 2)).shape == (1, 2)


class OfNumbers(nn.Module):
    """A condition of numbers: torch computes none of the tensors that sizes are in a trace."""

    def forward(self, x: Tensor) -> None:
        assert torch.sym_max(x.shape[0], 1) == 4


class Checked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.check = SizeCheck(OfNumbers())

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        return x + 1


def test_a_trace_does_not_check_sizes() -> None:
    with pytest.raises(CaptureError):
        Checked()(torch.ones(5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, that the tracer is old
        traced = torch.jit.trace(Checked(), (torch.ones(4),))
    assert torch.equal(traced(torch.ones(4)), torch.full((4,), 2.0))


def test_it_can_be_compiled_and_copied() -> None:
    program = torch.export.export(nn.Linear(3, 2).eval(), (torch.ones(4, 3),))
    module = FoldedModule.of(program.module())
    x = torch.rand(4, 3)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), module(x))
    with pytest.raises(CaptureError):
        copy.deepcopy(module)(torch.ones(5, 3))

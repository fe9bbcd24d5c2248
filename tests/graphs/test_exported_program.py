"""A folded graph becomes a program again without a second trace, and shares its weights."""

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import bnconvert as bnc
from bnconvert.graphs.exported_program import exported_program
from bnconvert.numerics.distance import relative_error
from tests.zoo import trained


class Tied(nn.Module):
    """One convolution that is called twice, a size in the arithmetic, and three results."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> tuple[Tensor, int, None]:
        y = self.norm(self.conv(self.conv(x)))
        return y.reshape(y.shape[0] * 2, -1), 7, None


def folded(model: nn.Module) -> bnc.Folded:
    return bnc.fold(trained(model), (torch.randn(2, 3, 6, 6),))


def program_of(folded: bnc.Folded) -> ExportedProgram:
    program = folded.program()
    assert program is not None
    return program


@pytest.fixture(scope="module")
def tied() -> bnc.Folded:
    torch.manual_seed(0)
    return folded(Tied())


def test_the_program_computes_what_the_folded_graph_computes(
    tied: bnc.Folded,
) -> None:
    program = program_of(tied)
    for batch in (2, 5):  # the batch is as dynamic as it was captured
        x = torch.randn(batch, 3, 6, 6)
        mine, seven, none = program.module()(x)
        truth, *_ = tied.module(x)
        assert relative_error(mine, truth, "peak") < 1e-6
        assert (seven, none) == (7, None)


def test_a_lowered_program_can_be_made_into_another() -> None:
    """As ExecuTorch does: the operators that make the outputs have other names then."""
    program = program_of(folded(nn.Sequential(nn.Conv2d(3, 3, 3), nn.Flatten(), nn.Linear(48, 2))))
    lowered = program.run_decompositions()
    lowered.validate()
    assert [entry.signature.outputs for entry in program.module_call_graph if entry.signature] == [
        []
    ]


def test_weights_are_shared_and_one_input_stands_for_all_who_read_one(
    tied: bnc.Folded,
) -> None:
    program = program_of(tied)
    mine = {tensor.data_ptr() for tensor in program.state_dict.values()}
    assert mine == {tensor.data_ptr() for tensor in tied.module.state_dict().values()}
    assert len(program.state_dict) == len(mine)
    assert program.graph_signature.user_inputs == ("x",)


def test_the_graph_itself_is_not_changed(tied: bnc.Folded) -> None:
    captured = tied.captured
    before = captured.module.print_readable(print_output=False)
    exported_program(captured.module, captured.range_constraints)
    assert captured.module.print_readable(print_output=False) == before
    assert captured.module.graph.find_nodes(op="get_attr")


def test_an_input_keeps_its_name_even_that_of_a_builtin() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    program = program_of(folded(layers))
    assert program.run_decompositions({}).graph_signature.user_inputs == ("input",)


def test_a_module_may_have_a_name_that_is_no_identifier() -> None:
    """torchvision's RegNets have `block1-0`."""
    layers = nn.Sequential()
    layers.add_module("block1-0", nn.Conv2d(3, 3, 1))
    program = program_of(folded(layers))
    decomposed = program.run_decompositions({})
    assert set(decomposed.state_dict) == {"block1-0.weight", "block1-0.bias"}


def test_a_graph_that_branches_is_not_plain() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(x)
            result: Tensor = torch.cond(y.sum() > 0, torch.sin, torch.cos, (y,))
            return result

    assert folded(Branching()).program() is None


def test_the_exporter_takes_it(tied: bnc.Folded) -> None:
    """It decomposes the program, which is the first thing that an exporter does."""
    program = program_of(tied)
    decomposed = program.run_decompositions({})
    assert decomposed.graph_signature.user_inputs == program.graph_signature.user_inputs
    assert decomposed.state_dict.keys() == program.state_dict.keys()

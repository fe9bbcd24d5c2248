import cProfile
import gc
import pstats
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

import bnconvert as bnc
from bnconvert.torch_private.program_modules import module_of


class Inner(nn.Module):
    """Holds a buffer that a state_dict has, and one that it has not."""

    kept: Tensor
    passing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones(4))
        self.register_buffer("passing", torch.ones(4), persistent=False)


class Holding(nn.Module):
    """Holds every sort of tensor, one of them twice, and one that is called as ours are."""

    _tensor_1: Tensor

    def __init__(self) -> None:
        super().__init__()
        first = nn.Linear(4, 4)
        self.stem = nn.Sequential(first, nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 4)
        self.head.weight = first.weight
        self.inner = Inner()
        self.register_buffer("_tensor_1", torch.full((4,), 2.0))
        self.plain = torch.full((4,), 3.0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.stem(x)) * self.inner.kept + self._tensor_1
        return y + self.inner.passing * self.plain


X = torch.randn(3, 4)


def program_of(model: nn.Module) -> ExportedProgram:
    return export(model.eval(), (X,), dynamic_shapes=({0: Dim.DYNAMIC},))


def test_the_module_is_what_torch_makes_of_the_program() -> None:
    program = program_of(Holding())
    ours, theirs = module_of(program), program.module()
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    assert [*dict(ours.named_buffers())] == [*dict(theirs.named_buffers())]
    assert {*dict(ours.named_modules())} == {*dict(theirs.named_modules())}
    assert ours.code == theirs.code
    names = [[(n.op, n.name, n.target) for n in m.graph.nodes] for m in (ours, theirs)]
    assert names[0] == names[1]
    assert torch.equal(ours(X), theirs(X))


@pytest.mark.parametrize("name", ["meta", "graph", "code", "recompile", "print_readable"])
def test_a_name_that_a_graph_module_has_itself_stops_the_capture_and_parts_are_folded(
    name: str,
) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(name, nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.get_submodule(name)(x)
            return y

    model = Holder().eval()
    with pytest.raises(AttributeError, match=f"a GraphModule has a '{name}' of its own"):
        module_of(program_of(model))
    folded = bnc.fold(model, (X,))
    assert [row.outcome for row in folded.report.norms] == ["folded"]
    torch.testing.assert_close(folded.module(X), model(X))


def test_tied_weights_are_one_tensor_and_those_of_the_program() -> None:
    program = program_of(Holding())
    module = module_of(program)
    weight = module.get_parameter("stem.0.weight")
    assert weight is module.get_parameter("head.weight")
    assert weight is program.state_dict["stem.0.weight"]


def test_the_program_is_not_changed() -> None:
    program = program_of(Holding())
    before = str(program), [*program.state_dict], [*program.constants]
    module_of(program)
    assert (str(program), [*program.state_dict], [*program.constants]) == before


def test_its_work_grows_with_the_number_of_tensors_and_not_with_its_square() -> None:
    def calls(layers: int) -> Counter[object]:
        program = program_of(nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers))))
        profile = cProfile.Profile()
        gc.collect()
        gc.disable()  # what earlier tests left is not this one's work
        try:
            profile.runcall(module_of, program)
        finally:
            gc.enable()
        figures = vars(pstats.Stats(profile))["stats"]
        return Counter({where: called for where, (_, called, *_) in figures.items()})

    few, many = calls(20), calls(80)
    assert {where: many[where] for where in many if many[where] > 6 * few[where] + 80} == {}

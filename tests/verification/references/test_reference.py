from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed as dist, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.verification.cases import Pool
from bnconvert.verification.references.model_outputs import outputs_of
from bnconvert.verification.references.reference import PERTURBATIONS, Reference
from bnconvert.verification.tolerance import ILL_CONDITIONED, Tolerance
from tests.submodules import submodule
from tests.zoo import build


class Float32Only(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype is not torch.float32:
            raise TypeError("float32 only")
        y: Tensor = self.linear(x)
        return y


class Cancelling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + 1e6) - 1e6


def test_the_truth_is_the_model_in_float64() -> None:
    model, inputs = build("plain")
    reference = Reference(model)
    true, native, *_ = reference.answers(Example.of(inputs))
    with torch.no_grad():
        expected = model.double()(inputs[0].double())
    assert torch.equal(true[0], expected)
    assert native[0].dtype is torch.float32
    assert reference.notes == []


def test_the_users_model_is_not_touched() -> None:
    model, inputs = build("plain")
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Reference(model).answers(Example.of(inputs))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.dtype is torch.float32 for p in model.parameters())


def test_a_model_in_training_mode_is_asked_in_eval_mode() -> None:
    model, inputs = build("plain")
    expected = model(*inputs)
    _, native, *_ = Reference(model.train()).answers(Example.of(inputs))
    assert torch.equal(native[0], expected)


def test_a_model_that_cannot_run_in_float64_is_shaken_instead() -> None:
    example = Example.of((torch.randn(3, 4),))
    reference = Reference(Float32Only().eval())
    true, native, perturbed, *_ = reference.answers(example)
    assert native is true
    assert "does not run in float64" in reference.notes[0]
    assert perturbed is not None
    gap = (true[0] - perturbed[0]).abs().max()
    assert 0 < gap < 1e-5


def test_a_cancelling_model_is_called_ill_conditioned_by_its_own_noise() -> None:
    example = Example.of((torch.randn(100) * 1e-2,))
    noise = Tolerance.of([Reference(Cancelling().eval()).answers(example)]).noise
    assert noise is not None
    assert noise > ILL_CONDITIONED
    calm = Tolerance.of([Reference(nn.Identity().eval()).answers(example)])
    assert calm.noise is None


def test_perturbed_outputs_are_moved_by_a_few_units_each_in_its_own_way() -> None:
    model, inputs = build("plain")
    reference = Reference(model)
    first, *others = reference.perturbed_outputs(Example.of(inputs))
    assert len(others) == PERTURBATIONS - 1
    again = Reference(model).perturbed_outputs(Example.of(inputs))
    assert all(
        torch.equal(one[0], two[0]) for one, two in zip((first, *others), again, strict=True)
    )
    for other in others:
        assert 0 < (other[0] - first[0]).abs().max() < 1e-5


def test_a_model_that_checks_its_inputs_has_no_perturbed_outputs() -> None:
    class Strict(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.max() > 1:
                raise ValueError("inputs are at most 1")
            return x

    ones = Example.of((torch.ones(2, 3),))
    assert list(Reference(Strict().eval()).perturbed_outputs(ones)) == []


def test_where_float64_gives_other_shapes_the_models_own_are_the_truth() -> None:
    class Chosen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[x + 1e-9 > 1]

    reference = Reference(Chosen().eval())
    true, native, *_ = reference.answers(Example.of((torch.tensor([1.0, 2.0]),)))
    assert true is native
    assert "in float64 the model gives outputs of other shapes" in reference.notes[0]


def test_accepts_tells_whether_the_model_runs() -> None:
    model, inputs = build("plain")
    reference = Reference(model)
    assert reference.accepts(Example.of(inputs))
    assert not reference.accepts(Example.of((torch.randn(2, 5, 8, 8),)))


def test_outputs_come_in_order_and_inputs_are_not_written_to() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            x += 1
            return {"first": x, "second": x * 2}

    x = torch.zeros(2)
    first, second = outputs_of(InPlace(), Example.of((x,)))
    assert torch.equal(first, torch.ones(2))
    assert torch.equal(second, torch.full((2,), 2.0))
    assert not x.any()


def test_a_model_that_holds_a_process_group_is_copied(
    lone_process_group: dist.ProcessGroup,
) -> None:
    model = nn.Sequential(nn.SyncBatchNorm(3, process_group=lone_process_group)).eval()
    reference = Reference(model)
    norm = submodule(reference.model, "0", nn.SyncBatchNorm)
    assert norm.process_group is lone_process_group
    true, native, *_ = reference.answers(Example.of((torch.randn(2, 3, 4, 4),)))
    assert native[0].shape == true[0].shape


def test_what_cannot_be_copied_is_named() -> None:
    model: Any = nn.Identity()  # it gets an attribute that its class does not declare
    model.stream = (number for number in range(3))
    with pytest.raises(bnc.UnsupportedModelError, match="Identity: cannot be copied"):
        Reference(model)


class Categories(nn.Module):
    """Takes categories of two kinds, of which one has fewer values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.few, self.many = nn.Embedding(2, 3), nn.Embedding(9, 3)

    def forward(self, table: Tensor) -> Tensor:
        y: Tensor = self.few(table[:, 0]) * self.many(table[:, 1])
        return y


def test_what_does_not_run_for_one_reason_is_one_note() -> None:
    table = torch.tensor([[0, 8], [1, 7]])  # of two rows, numbers are drawn for any column
    reference = Reference(Categories().eval())
    pool = Pool.of(Example.of((table,)), None, torch.Generator().manual_seed(0))
    answers = reference.answers_to(pool)
    (note,) = reference.notes
    assert note.startswith("the model does not run on ")
    assert "more: IndexError: index out of range" in note
    assert answers


def test_a_table_of_categories_is_compared_on_generated_rows(tmp_path: Path) -> None:
    table = torch.tensor([[0, 8], [1, 7], [0, 2], [1, 5]])
    report = bnc.export(Categories().eval(), (table,), tmp_path / "m.onnx")
    assert not [note for note in report.notes if "does not run" in note]
    assert any("generated" in check.case for check in report.checks)

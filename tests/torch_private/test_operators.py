import operator

import pytest
import torch

from bnconvert.torch_private.operators import (
    base_name,
    calls_subgraphs,
    changes_further_inputs,
    changes_its_inputs,
    formals_of,
    functional_counterpart,
    is_composite,
    is_elementwise,
    is_operator,
    name_of,
    reads_numbers,
    shapes_by_numbers,
)

aten = torch.ops.aten


def test_operators_are_told_from_functions_and_from_operators_on_graphs() -> None:
    assert is_operator(aten.add.Tensor)
    assert not any(map(is_operator, (operator.add, torch.add, "add", torch.ops.higher_order.cond)))
    assert calls_subgraphs(torch.ops.higher_order.cond)
    assert not any(map(calls_subgraphs, (aten.add.Tensor, operator.add)))


def test_names_are_without_the_overload() -> None:
    assert name_of(aten.add_.Tensor) == "aten::add_"
    assert base_name(aten.add_.Tensor) == "add_"


def test_formal_arguments_have_names_and_defaults() -> None:
    formals = formals_of(aten.add.Tensor)
    assert [(f.name, f.default_value) for f in formals] == [
        ("self", None),
        ("other", None),
        ("alpha", 1),
    ]


def test_operators_that_write_are_known_and_where_they_write() -> None:
    assert changes_its_inputs(aten.relu_.default)
    assert not changes_its_inputs(aten.relu.default)
    assert not changes_its_inputs(aten.view.default)  # shows the memory, and does not write
    assert not changes_further_inputs(aten.relu_.default)
    assert changes_further_inputs(aten.add.out)
    assert changes_further_inputs(aten._native_batch_norm_legit.default)  # the statistics


def test_operators_on_each_number_by_itself() -> None:
    assert is_elementwise(aten.gelu.default)
    assert is_elementwise(aten.hardswish.default)
    assert not is_elementwise(aten.relu_.default)  # it writes
    assert not is_elementwise(aten.softmax.int)


@pytest.mark.parametrize("composite", [aten.linear.default, aten.conv2d.default])
def test_composite_operators(composite: torch._ops.OpOverload) -> None:
    assert is_composite(composite)


@pytest.mark.parametrize("simple", [aten.relu.default, aten.add.Tensor, aten.convolution.default])
def test_operators_with_kernels_of_their_own(simple: torch._ops.OpOverload) -> None:
    assert not is_composite(simple)


def test_the_functional_counterpart_has_the_same_overload() -> None:
    assert functional_counterpart(aten.relu_.default) is aten.relu.default
    assert functional_counterpart(aten.add_.Scalar) is aten.add.Scalar
    assert functional_counterpart(aten.requires_grad_.default) is None


def test_operators_by_whose_numbers_python_or_a_size_may_be_decided() -> None:
    assert reads_numbers(aten._local_scalar_dense.default)
    assert reads_numbers(aten.equal.default)
    assert not reads_numbers(aten.nonzero.default)
    x = torch.ones(3)
    assert shapes_by_numbers(aten.nonzero.default, (x,))
    assert shapes_by_numbers(aten.repeat_interleave.Tensor, (x,))
    assert not shapes_by_numbers(aten.add.Tensor, (x, x))


def test_indexing_has_a_size_of_its_own_only_by_a_mask() -> None:
    x, index = torch.ones(3), aten.index.Tensor
    assert shapes_by_numbers(index, (x, [x > 0]))
    assert not shapes_by_numbers(index, (x, [None, torch.tensor([0, 1])]))


def test_operators_that_are_not_torchs_own_do_not_say() -> None:
    assert shapes_by_numbers(torch.ops.prim.device.default, (torch.ones(1),))

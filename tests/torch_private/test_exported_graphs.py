import torch
from torch import Tensor, fx, nn
from torch.export import Dim, export

from bnconvert.torch_private.exported_graphs import calling_convention, maker_of_values


class Sum(nn.Module):
    """Adds its inputs, of which one has a name."""

    def forward(self, x: Tensor, *, other: Tensor) -> Tensor:
        return x + other


def captured() -> fx.GraphModule:
    x = torch.ones(2, 3)
    shapes = {"x": {0: Dim.DYNAMIC}, "other": {0: Dim.DYNAMIC}}
    module = export(Sum(), (x,), {"other": x}, dynamic_shapes=shapes).module()
    assert isinstance(module, fx.GraphModule)
    return module


def test_values_of_weights_have_their_shape_and_go_with_those_of_the_graph() -> None:
    values = [node.meta.get("val") for node in captured().graph.nodes]
    make = maker_of_values(values)
    assert make is not None
    weight = make(nn.Parameter(torch.ones(5, 3)))
    assert weight.shape == (5, 3)
    assert all(isinstance(size, int) for size in weight.shape)
    operand = next(value for value in values if isinstance(value, Tensor))
    assert (operand @ weight.T).shape[1] == 5  # of another capture, torch would refuse it


def test_without_fake_values_there_is_nothing_to_go_with() -> None:
    assert maker_of_values([None, 3, torch.ones(2)]) is None


def test_the_calling_convention_names_the_inputs_and_nests_them() -> None:
    convention = calling_convention(captured().graph)
    assert convention.orig_args == ["x", "other"]
    assert convention.in_spec.num_leaves == 2
    assert convention.out_spec.num_leaves == 1

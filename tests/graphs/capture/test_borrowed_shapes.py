import torch
from torch import Tensor, nn
from torch.export import Dim, export

from bnconvert.graphs.capture.borrowed_shapes import spell_out_borrowed_shapes


class Reshaped(nn.Module):
    """A forward that reads the batch size, and one shape from another tensor."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.shape[0]
        return (x.flatten(1) + 1).reshape_as(x) * x.view(rows, -1)[:, :1, None]


class Cast(nn.Module):
    """A forward with every kind of cast: to another dtype, to the same, by another tensor."""

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.float64) + 1
        return wide.to(x) + x.to("cpu") + x.to(torch.float32, copy=True) + wide.type_as(x)


def spelled_out(model: nn.Module) -> tuple[torch.fx.GraphModule, list[str]]:
    shapes = ({0: Dim.DYNAMIC},)
    module = export(model.eval(), (torch.rand(2, 3, 4),), dynamic_shapes=shapes).module()
    assert isinstance(module, torch.fx.GraphModule)
    spell_out_borrowed_shapes(module)
    module.graph.lint()
    return module, [str(n.target) for n in module.graph.nodes if n.op == "call_function"]


def test_a_size_that_varies_is_the_one_that_the_graph_reads_already() -> None:
    module, names = spelled_out(Reshaped())
    assert "aten.reshape_as.default" not in names
    assert names.count("aten.sym_size.int") == 1
    for rows in (2, 5):
        x = torch.rand(rows, 3, 4)
        torch.testing.assert_close(module(x), Reshaped()(x), rtol=0, atol=0)


def test_casts_that_change_nothing_are_left_out() -> None:
    module, names = spelled_out(Cast())
    casts = [name for name in names if "to" in name and "assert" not in name]
    assert casts == ["aten._to_copy.default", "aten._to_copy.default", "aten.to.dtype",
                     "aten._to_copy.default"]  # fmt: skip
    x = torch.rand(3, 3, 4)
    torch.testing.assert_close(module(x), Cast()(x), rtol=0, atol=0)

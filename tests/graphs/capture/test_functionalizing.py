import pytest
import torch
from torch import Tensor, nn
from torch.export import export
from torch.nn import functional as F

from bnconvert.graphs.capture.functionalizing import functional_module


class Steps(nn.Module):
    """A forward as a function of its input and a convolution."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.wide: Tensor
        self.register_buffer("wide", torch.ones(4, 1, 1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = getattr(self, self.name)(x, self.conv(x))
        return result

    def in_place_activation(self, x: Tensor, y: Tensor) -> Tensor:
        return F.relu_(y) + 1

    def read_after(self, x: Tensor, y: Tensor) -> Tensor:
        z = F.relu_(y)
        return y * 2 + z

    def read_before(self, x: Tensor, y: Tensor) -> Tensor:
        old = y * 3
        y.add_(1)
        return old + y

    def chain(self, x: Tensor, y: Tensor) -> Tensor:
        y += x.mean()
        return F.hardtanh_(y.mul_(2), 0, 6) + y

    def promoted(self, x: Tensor, y: Tensor) -> Tensor:
        return y.add_(self.wide)  # in place it stays float32

    def view_before(self, x: Tensor, y: Tensor) -> Tensor:
        flat = y.flatten(1)
        F.relu_(y)
        return flat + 1

    def view_changed(self, x: Tensor, y: Tensor) -> Tensor:
        y[:, 0].mul_(2)
        return y

    def only_view_changed(self, x: Tensor, y: Tensor) -> Tensor:
        z = torch.cat([y, y.relu()], 1)[:, :5].flatten(2)
        z += x.mean()
        return z

    def base_read_after_its_view_is_changed(self, x: Tensor, y: Tensor) -> Tensor:
        both = torch.cat([y, y.relu()], 1)
        both[:, :5].add_(1)
        return both

    def input_changed_through_a_view(self, x: Tensor, y: Tensor) -> Tensor:
        x[:, :2].add_(1)
        return y

    def input_changed(self, x: Tensor, y: Tensor) -> Tensor:
        x.mul_(2)
        return x + 1

    def shape_of_another(self, x: Tensor, y: Tensor) -> Tensor:
        return y.flatten(1).reshape_as(y)

    def shape_of_the_input(self, x: Tensor, y: Tensor) -> Tensor:
        flat = y.flatten(2).mean(2)
        return flat[:, :, None, None].expand_as(y) + y.view_as(y)

    def cast_up_and_down(self, x: Tensor, y: Tensor) -> Tensor:
        return y.to(torch.float64).mul(2).type_as(x)

    def cast_to_itself_and_changed(self, x: Tensor, y: Tensor) -> Tensor:
        y.to(torch.float32).add_(1)
        return y

    def cast_and_base_changed(self, x: Tensor, y: Tensor) -> Tensor:
        wide = y.to(torch.float64)
        y.add_(1)
        return wide + y

    def shown_through_expansion(self, x: Tensor, y: Tensor) -> Tensor:
        mean = y.mean((2, 3), keepdim=True)
        shown = mean.expand_as(y)
        mean.add_(1)
        return shown + y

    def dropout(self, x: Tensor, y: Tensor) -> Tensor:
        return F.dropout(F.relu_(F.dropout(y, training=False)), training=False)

    def dropout_in_place(self, x: Tensor, y: Tensor) -> Tensor:
        z = F.relu(y)
        return F.dropout(z, training=False, inplace=True) + z


NAMES = [name for name in vars(Steps) if not name.startswith("_") and name != "forward"]


def target_names(module: torch.fx.GraphModule) -> set[str]:
    return {str(node.target) for node in module.graph.nodes}


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_computes_the_same_without_in_place_operators(name: str) -> None:
    model = Steps(name).eval()
    program = export(model, (torch.randn(2, 3, 6, 6),))
    module = functional_module(program)
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(module(x.clone()), model(x.clone()), rtol=0, atol=0)
    changed = [t for t in target_names(module) if t.partition(".")[2].split(".")[0].endswith("_")]
    assert changed == [] or name.startswith("input_changed")  # whose caller shall see it


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("chain", "hardtanh.default"),
        ("dropout_in_place", "relu.default"),
        ("only_view_changed", "add.Tensor"),
        ("shape_of_another", "reshape.default"),
        ("shape_of_the_input", "expand.default"),
        ("cast_up_and_down", "_to_copy.default"),
        ("cast_to_itself_and_changed", "add.Tensor"),
    ],
)
def test_plain_programs_are_not_traced_again(
    name: str, operator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = export(Steps(name).eval(), (torch.randn(2, 3, 6, 6),))
    monkeypatch.setattr(type(program), "run_decompositions", None)
    assert f"aten.{operator}" in target_names(functional_module(program))


def test_training_mode_is_left_to_torch() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4).train())
    module = functional_module(export(model, (torch.randn(2, 3, 6, 6),)))
    assert "aten._native_batch_norm_legit_functional.default" in target_names(module)

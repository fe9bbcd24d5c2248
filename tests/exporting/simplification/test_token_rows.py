"""Layers over tokens are computed on rows where that takes no more operators, for any sizes."""

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.functional import scaled_dot_product_attention

import bnconvert as bnc
from bnconvert.exporting.simplification.decomposed_program import DecomposedProgram
from tests.faults import plant

TOKENS = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
SIZES = (1, 2, 3)


class Block(nn.Module):
    """A block of a vision transformer, with positions."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, 5, 12))
        self.norms = nn.ModuleList([nn.LayerNorm(12), nn.LayerNorm(12)])
        self.inputs, self.output = nn.Linear(12, 36), nn.Linear(12, 12)
        self.layers = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 12))
        self.scale = nn.Parameter(torch.randn(12))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.positions[:, : x.shape[1]]
        heads = self.inputs(self.norms[0](x)).unflatten(2, (3, 2, 6)).permute(2, 0, 3, 1, 4)
        y = scaled_dot_product_attention(*heads.unbind(0)).transpose(1, 2).flatten(2)
        x = x + self.output(y)
        y = self.layers(self.norms[1](x)) * self.scale
        return x + y  # type: ignore[no-any-return]


class Pieces(nn.Module):
    """Every way in which a value can enter and leave rows; inner values are returned too."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(12, 12) for _ in range(8)])

    def forward(self, x: Tensor, image: Tensor) -> list[Tensor]:
        first = self.layers[0](x).relu()
        both = self.layers[1](first) + self.layers[2](first) * 0.5
        shares = self.layers[3](both).softmax(2) + self.layers[4](both).clamp(0, 1)
        windows = self.layers[5](shares).reshape(-1, 4, 3).transpose(1, 2)
        again = self.layers[6](windows.reshape(x.shape[0], 5, 12)).tanh()
        inside = self.layers[7](again.reshape(-1, 1, 5, 12)) - image.reshape(-1, 1, 5, 12)
        return [first, shares.sum(1), again.transpose(1, 2), inside, x.mul(2)]


def in_rows(model: nn.Module, *inputs: Tensor, sizes: tuple[int, ...] = SIZES) -> tuple[int, int]:
    """Write a model's layers on rows; return how many layers are on them, and how many not."""
    batch = tuple({0: Dim("batch")} for _ in inputs)
    captured = torch.export.export(model.eval(), inputs, dynamic_shapes=batch)
    program = DecomposedProgram.of(captured).run_decompositions({})
    program.graph_module.recompile()
    for size in sizes:
        given = [torch.randn(size, *x.shape[1:]) for x in inputs]
        torch.testing.assert_close(program.module()(*given), model(*given))
    linear = program.graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default)
    axes = Counter(node.meta["val"].dim() for node in linear)
    return axes[2], axes.total() - axes[2]


def exported(model: nn.Module, path: Path, **options: Any) -> Counter[str]:
    assert bnc.export(model.eval(), (TOKENS,), path, **options).verdict == "agrees"
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_a_transformer_is_on_rows_but_for_its_attention(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert in_rows(Block(), TOKENS) == (4, 0)
    kinds = exported(Block(), tmp_path / "m.onnx")
    assert kinds["Gemm"] == 4
    assert kinds["MatMul"] == 2
    assert kinds["Reshape"] == 4
    assert kinds["Add"] == 3


def test_values_enter_and_leave_rows_in_every_way() -> None:
    torch.manual_seed(0)
    on_rows, others = in_rows(Pieces(), TOKENS, torch.randn(2, 60))
    assert on_rows == 8
    assert not others


@pytest.mark.parametrize(
    ("layers", "on_rows"),
    [
        ([nn.Linear(12, 8)], 0),  # two reshapes, for one addition
        ([nn.Linear(12, 8, bias=False), nn.Linear(8, 6, bias=False)], 0),
        ([nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 6)], 2),
        ([nn.Linear(12, 8), nn.Softmax(1), nn.Linear(8, 6)], 0),
        ([nn.Linear(12, 8), nn.LayerNorm((5, 8)), nn.Linear(8, 6)], 0),
        ([nn.Linear(12, 8), nn.Unflatten(2, (2, 4)), nn.Flatten(2), nn.Linear(8, 6)], 2),
    ],
    ids=["one", "no biases", "two", "over tokens", "norm over tokens", "reshaped"],
)
def test_there_are_no_more_operators(layers: list[nn.Module], on_rows: int) -> None:
    torch.manual_seed(0)
    assert in_rows(nn.Sequential(*layers), TOKENS)[0] == on_rows


def test_layers_alone_are_on_rows_where_what_is_between_them_costs_more() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 12))

        def forward(self, x: Tensor) -> list[Tensor]:
            x = self.layers(x)
            return [x + x.roll(shift, 1) for shift in (1, 2, 3)]

    torch.manual_seed(0)
    assert in_rows(Wide(), TOKENS) == (2, 0)


class Positioned(nn.Module):
    """Adds what two layers make of constants, as some networks do with positions."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Buffer(torch.randn(1, 5, 2))
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 12))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * self.layers(self.places)
        return y


def test_what_is_made_of_constants_stays_a_constant(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert in_rows(Positioned(), TOKENS) == (0, 2)
    assert exported(Positioned(), tmp_path / "m.onnx") == {"Mul": 1}


def test_two_sizes_that_may_vary(tmp_path: Path) -> None:
    """No reshape in numbers has two unknown ones: what ends in tokens stays on them."""
    torch.manual_seed(0)
    axes = {"input": {0: "batch", 1: "tokens"}}
    layers = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 6))
    assert not exported(layers, tmp_path / "m.onnx", dynamic_shapes=axes)["Gemm"]
    ended = nn.Sequential(layers, nn.Flatten(0, 1))
    assert exported(ended, tmp_path / "m.onnx", dynamic_shapes=axes)["Gemm"] == 2


@pytest.mark.parametrize("fault", ["weight", "bias"])
def test_a_fault_on_rows_is_named(fault: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, path, wrong = Block().eval(), tmp_path / "m.onnx", tmp_path / "wrong.onnx"
    exported(model, path)
    layers = [node for node in onnx.load(path).graph.node if node.op_type == "Gemm"]
    for layer in layers:
        plant(path, wrong, layer.output[0], fault)
        with pytest.raises(bnc.VerificationError) as failure:
            bnc.verify(model, wrong, (TOKENS,))
        (found,) = (f for f in failure.value.report.findings if f.id == "BN404")
        assert layer.output[0] in found.message
        assert "is off by" in found.message

"""Attention and its three inputs are written with as few operators as its axes allow."""

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import bnconvert as bnc

TOKENS = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    """Attention over tokens, as in vision transformers."""

    def __init__(self, mask: Tensor | None = None, scale: float | None = None) -> None:
        super().__init__()
        self.inputs, self.output = nn.Linear(12, 36), nn.Linear(12, 12)
        self.mask = None if mask is None else nn.Buffer(mask)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.inputs(x).unflatten(2, (3, 2, 6)).permute(2, 0, 3, 1, 4).unbind(0)
        y = scaled_dot_product_attention(q, k, v, attn_mask=self.mask, scale=self.scale)
        return self.output(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Causal(Attention):
    def forward(self, x: Tensor) -> Tensor:
        q = self.inputs(x).unflatten(2, (6, 6)).transpose(1, 2)
        return scaled_dot_product_attention(q, q, q, is_causal=True)


class ShortKeys(Attention):
    """Fewer keys than queries; values of another size than keys."""

    def forward(self, x: Tensor) -> Tensor:
        q = self.inputs(x).unflatten(2, (6, 6)).transpose(1, 2)
        return scaled_dot_product_attention(q, q[:, :, :3], q[:, :, :3, :4])


class OneHead(Attention):
    """Without an axis for heads, over which torch.onnx writes no attention."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.inputs(x).chunk(3, -1)
        return self.output(scaled_dot_product_attention(q, k, v))  # type: ignore[no-any-return]


def exported(model: nn.Module, path: Path, **options: object) -> Counter[str]:
    torch.manual_seed(0)
    report = bnc.export(model.eval(), (TOKENS,), path, **options)  # type: ignore[arg-type]
    assert report.verdict == "agrees"
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize(
    "model",
    [Attention(), Attention(scale=0.3), Attention(torch.randn(2, 5, 5)), ShortKeys(), OneHead()],
    ids=["plain", "scaled", "position bias", "short keys", "one head"],
)
def test_keys_are_transposed_once_and_one_side_is_scaled(model: nn.Module, tmp_path: Path) -> None:
    kinds = exported(model, tmp_path / "m.onnx")
    assert not kinds["Shape"]
    assert not kinds["Concat"]
    assert kinds["Mul"] == 1
    assert kinds["Softmax"] == 1


def test_each_of_its_inputs_is_taken_by_one_operator(tmp_path: Path) -> None:
    kinds = exported(Attention(), tmp_path / "m.onnx")
    assert kinds["Gather"] == 3
    assert not kinds["Slice"] + kinds["Squeeze"] + kinds["Split"]


def test_any_number_of_tokens(tmp_path: Path) -> None:
    axes = {"x": {0: "batch", 1: "tokens"}}
    kinds = exported(Attention(), tmp_path / "m.onnx", dynamic_shapes=axes)
    assert kinds["Mul"] == 1


@pytest.mark.parametrize(
    "model", [Attention(torch.ones(5, 5).tril().bool()), Causal()], ids=["truth values", "causal"]
)
def test_masked_attention_is_left_to_torch(model: nn.Module, tmp_path: Path) -> None:
    assert exported(model, tmp_path / "m.onnx")["Mul"] == 2


@pytest.mark.parametrize("opset", [17, 18, 23])
def test_without_an_axis_for_heads_a_file_of_any_tokens_can_be_written(
    opset: int, tmp_path: Path
) -> None:
    axes = {"x": {0: "batch", 1: "tokens"}}
    kinds = exported(OneHead(), tmp_path / "m.onnx", dynamic_shapes=axes, opset=opset)
    assert (kinds["Softmax"], kinds["Attention"]) == (1, 0)


def test_it_is_one_operator_where_the_opset_has_it(tmp_path: Path) -> None:
    kinds = exported(Attention(), tmp_path / "m.onnx", opset=23)
    assert kinds["Attention"] == 1
    assert not kinds["Softmax"]


class Stacked(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x.relu(), *x.unbind(1)]


def test_parts_that_are_returned_are_as_they_were(tmp_path: Path) -> None:
    assert exported(Stacked(), tmp_path / "m.onnx")["Gather"] == 5

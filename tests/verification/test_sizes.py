"""Every axis that a file declares dynamic is compared at several sizes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.verification.sizes import FreeAxis, free_axes, resized, were_apart
from tests.zoo import trained

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
FREE = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)


def test_axes_with_one_symbol_are_one_and_the_batch_is_none() -> None:
    tensors = [torch.zeros(2, 3, 5), torch.zeros(2, 5), torch.zeros(7)]
    shapes: list[list[int | str | None]] = [["batch", 3, "t"], ["batch", "t"], [None]]
    assert free_axes(shapes, tensors, [0, 1]) == [
        FreeAxis("t", ((0, 2), (1, 1)), 5),
        FreeAxis("axis 0 of input 2", ((2, 0),), 7),
    ]


def test_an_axis_that_a_given_tensor_lacks_is_not_varied() -> None:
    assert free_axes([["batch", "t"]], [torch.zeros(2)], [0]) == []


@pytest.mark.parametrize("given", [1, 2, 3, 4, 7, 31, 32, 33, 64])
def test_sizes_are_larger_and_odd_a_larger_multiple_of_32_odd_and_about_half_and_1(
    given: int,
) -> None:
    example, axis = Example.of((torch.zeros(2, given),)), FreeAxis("t", ((0, 1),), given)
    larger, multiple, half, one = (r.sizes["t"] for r in resized(example, [axis], lambda _: True))
    assert larger in (given + 1, given + 2)
    assert larger % 2 == 1
    assert given < multiple <= given + 32
    assert multiple % 32 == 0
    assert half in (given // 2, given // 2 + 1)
    assert half % 2 == 1
    assert one == 1


@pytest.mark.parametrize("multiple", [1, 4, 16])
def test_enough_sizes_are_found_that_the_model_takes(multiple: int) -> None:
    axes = [FreeAxis("h", ((0, 2),), 16), FreeAxis("w", ((0, 3),), 16)]

    def takes(example: Example) -> bool:
        return all(size % multiple == 0 for size in example.args[0].shape[2:])

    found = list(resized(Example.of((X,)), axes, takes))
    for axis in ("h", "w"):
        sizes = {16, *(other.sizes[axis] for other in found if axis in other.sizes)}
        assert len(sizes) >= 3
        assert any(size % 32 == 0 for size in sizes)
        if multiple == 1:
            assert any(size % 2 for size in sizes)
            assert {size for size in sizes if size < 16}
    for other in found:
        assert other.example.args[0].shape[2] == other.sizes.get("h", 16)


SQUARE = [FreeAxis("h", ((0, 2),), 16), FreeAxis("w", ((0, 3),), 16)]


@pytest.mark.parametrize("multiple", [1, 4, 32, 48])
def test_axes_of_equal_sizes_are_compared_at_different_ones_first(multiple: int) -> None:
    given = Example.of((torch.zeros(2, 3, 48, 48),)) if multiple == 48 else Example.of((X,))
    axes = [FreeAxis(a.name, a.places, given.args[0].shape[2]) for a in SQUARE]

    def takes(example: Example) -> bool:
        return all(size % multiple == 0 for size in example.args[0].shape[2:])

    first, *others = resized(given, axes, takes)
    assert len({*first.sizes.values(), 2, axes[0].given}) == 4
    assert were_apart(axes, [first])
    assert not were_apart(axes, [r for r in others if len({*r.sizes.values()}) == 1 < len(r.sizes)])


def test_where_the_model_takes_equal_sizes_only_they_change_together() -> None:
    found = list(
        resized(Example.of((X,)), SQUARE, lambda e: e.args[0].shape[2] == e.args[0].shape[3])
    )
    assert len(found) == 4
    assert not were_apart(SQUARE, found)


def test_axes_of_different_sizes_are_apart_as_given() -> None:
    axes = [SQUARE[0], FreeAxis("t", ((0, 3),), 8)]
    assert were_apart(axes, [])
    assert len(list(resized(Example.of((X,)), axes, lambda _: True))) == 4


class Strided(nn.Module):
    """Its stride is right for even sizes, wrong for odd ones where `trick` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return nn.functional.interpolate(y, size=x.shape[2:])


def test_a_file_of_dynamic_sizes_is_compared_at_three_of_each(tmp_path: Path) -> None:
    report = bnc.export(trained(Strided()), (X,), tmp_path / "m.onnx", dynamic_shapes=FREE)
    assert report.verdict == "agrees"
    sizes = [note for note in report.notes if ": compared at " in note]
    assert len(sizes) == 2
    assert all(len(note.split(",")) >= 3 for note in sizes)


def test_a_file_that_is_right_at_the_given_size_only_is_caught(tmp_path: Path) -> None:
    class Fixed(Strided):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(self.conv(x))
            return nn.functional.interpolate(y, size=x.shape[2:]) + (x.shape[2] - 16.0)

    model, other = trained(Strided()), trained(Fixed())
    other.load_state_dict(model.state_dict())
    bnc.export(other, (X,), tmp_path / "m.onnx", dynamic_shapes=FREE)
    with pytest.raises(bnc.VerificationError) as failure:
        bnc.verify(model, tmp_path / "m.onnx", (X,))
    assert not any("given inputs" in check.case for check in failure.value.report.failures)


class Views(nn.Module):
    """The mean over each three rows, in a loop of Python: the batch is fixed when it is traced."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x).mean((2, 3))
        return torch.stack([y[3 * i : 3 * i + 3].amax(0) for i in range(y.shape[0] // 3)])


class Larger(Views):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y * 2 if x.shape[0] > 16 else y


class Even(Views):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y * 2 if x.shape[0] % 8 == 0 else y


@pytest.mark.parametrize("model", [Views, Larger, Even])
def test_where_the_model_treats_batches_differently_the_file_is_fixed(
    model: type[nn.Module], tmp_path: Path
) -> None:
    import onnxruntime

    x = torch.randn(3, 3, 8, 8)
    report = bnc.export(trained(model()), (x,), tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert session.get_inputs()[0].shape[0] == 3
    assert report.verdict == "agrees"
    assert any("the model computes other things unless" in note for note in report.notes)
    captured = bnc.fold(trained(model()), (x,)).captured
    assert captured.dynamic_shapes is None, "fold and export agree"


def test_what_the_captured_graph_excludes_is_said_and_not_asked(tmp_path: Path) -> None:
    class Multiple(Views):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(x)
            return y + 1 if x.shape[2] % 8 == 0 else y

    report = bnc.export(trained(Multiple()), (X,), tmp_path / "m.onnx", dynamic_shapes=FREE)
    assert report.verdict == "agrees"
    assert any("x.shape[2] % 8) == 0" in note for note in report.notes)


def test_boxes_name_an_image_of_the_new_batch() -> None:
    boxes = torch.tensor([[1.0, 1, 1, 9, 9], [0.0, 2, 2, 8, 8]])
    example = Example.of((X, boxes))
    assert example.rows([0]).args[1].tolist() == [[0, 1, 1, 9, 9]]
    drawn = example.like(torch.Generator().manual_seed(0)).args[1]
    assert set(drawn[:, 0].tolist()) <= {0.0, 1.0}
    table = torch.rand(2, 5)
    assert torch.equal(Example.of((X, table)).rows([0]).args[1], table[:1])

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnconvert.errors import ExportError
from bnconvert.graphs.example import Example, named_tensors, require_no_arrays


def test_inputs_come_as_a_tuple_a_mapping_or_one_tensor() -> None:
    x = torch.randn(2, 3)
    assert Example.of((x, 1)).args == (x, 1)
    assert Example.of({"x": x}).kwargs == {"x": x}
    assert Example.of(x).args == (x,)
    assert Example.of([x]).args == (x,)  # type: ignore[arg-type]


def test_tensors_are_found_inside_containers() -> None:
    a, b = torch.zeros(2), torch.ones(2)
    assert [t.sum() for t in Example.of(([a], {"b": b})).tensors()] == [0, 2]


def test_the_batch_is_the_first_axis_of_the_first_tensor() -> None:
    example = Example.of((torch.zeros(()), torch.zeros(4, 3), torch.zeros(7)))
    assert example.batch == 4
    assert [example.is_batched(t) for t in example.tensors()] == [False, True, False]
    assert Example.of((3,)).batch is None


def test_rows_are_chosen_in_every_batched_tensor() -> None:
    example = Example.of((torch.arange(3), torch.arange(5)))
    first, second = example.rows([2, 0, 2]).tensors()
    assert first.tolist() == [2, 0, 2]
    assert second.tolist() == [0, 1, 2, 3, 4]


def test_generated_inputs_are_like_the_given_ones() -> None:
    given = Example.of((torch.randn(64, 32) * 3 + 7, torch.randint(5, 9, (64, 8))))
    floats, integers = given.like(torch.Generator().manual_seed(0)).tensors()
    assert floats.dtype is torch.float32
    assert abs(floats.mean() - 7) < 0.3
    assert abs(floats.std() - 3) < 0.3
    assert set(integers.unique().tolist()) <= {5, 6, 7, 8}
    assert integers.dtype is torch.int64


def test_generated_inputs_are_the_same_for_the_same_seed() -> None:
    given = Example.of((torch.randn(4, 4),))
    first, second = (given.like(torch.Generator().manual_seed(3)).tensors()[0] for _ in range(2))
    assert torch.equal(first, second)


def test_perturbing_moves_each_number_by_about_one_unit_in_the_last_place() -> None:
    given = Example.of((torch.full((2, 3), 1.5), torch.arange(3)))
    floats, integers = given.perturbed().tensors()
    steps = (floats - 1.5).abs() / torch.finfo(torch.float32).eps
    assert ((steps >= 1) & (steps <= 2)).all()
    assert torch.equal(integers, torch.arange(3))


def test_one_row_can_be_kept_in_another_batch() -> None:
    given = Example.of((torch.randn(4, 3), torch.arange(9)))
    mixed, fixed = given.with_other_rows(2, torch.Generator().manual_seed(0)).tensors()
    assert torch.equal(mixed[2], given.args[0][2])
    assert not (mixed == given.args[0])[[0, 1, 3]].any()
    assert torch.equal(fixed, torch.arange(9))


def test_tensors_have_the_names_of_the_forwards_parameters() -> None:
    class Two(nn.Module):
        def forward(self, image: Tensor, *, extra: list[Tensor]) -> Tensor:
            return image

    one, more = torch.zeros(1), [torch.zeros(2), torch.zeros(3)]
    named = named_tensors(Two(), Example((one,), {"extra": more}))
    assert [name for name, _ in named] == ["image", "extra_0", "extra_1"]


T = torch.randn(2, 3)


def gathered(x: Tensor, *rest: Tensor, scale: Tensor | None = None, **more: Tensor) -> Tensor:
    return sum([*rest, *more.values()], x) if scale is None else x * scale + sum(rest)


def nested(d: Any, xs: Any = ()) -> Any:
    return d["a"] - d["b"]["A b"] * sum(xs)


def alike(X: Tensor, x: Any, x_1: Any = None) -> Any:  # noqa: N803  (names of one letter)
    return X - (x[0] if isinstance(x, list) else x) * (2 if x_1 is None else x_1)


class Called(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        vars(self)["forward"] = function

    def forward(self) -> None: ...  # hidden by the instance's own


NAMED: dict[str, tuple[Callable[..., Tensor], Example, list[str]]] = {
    "gathered": (gathered, Example((T, T, T), {}), ["x", "rest_0", "rest_1"]),
    "keyword-only": (gathered, Example((T, T), {"scale": T}), ["x", "rest_0", "scale"]),
    "gathered by name": (gathered, Example((), {"more": T, "x": T}), ["more", "x"]),
    "dicts": (nested, Example(({"a": T, "b": {"A b": T}}, [T]), {}), ["d_a", "d_b_a_b", "xs_0"]),
    "a dict by name": (nested, Example((), {"d": {"b": {"A b": T}, "a": T}, "xs": (T, T)}),
                       ["d_b_a_b", "d_a", "xs_0", "xs_1"]),
    "alike": (alike, Example((T, T), {}), ["x", "x_1"]),
    "alike, three": (alike, Example((T, T, T), {}), ["x", "x_1", "x_1_1"]),
    "a list alike": (alike, Example((T, [T], T), {}), ["x", "x_0", "x_1"]),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_inputs_are_named_as_the_exporter_names_them(name: str) -> None:
    function, example, names = NAMED[name]
    model = Called(function)
    assert [known for known, _ in named_tensors(model, example)] == names
    program = torch.export.export(model, example.args, example.kwargs)
    assert list(program.graph_signature.user_inputs) == names


def refused(leaf: Any, name: str) -> None:
    with pytest.raises(ExportError, match=f"the inputs: {name} is no tensor; give tensors"):
        require_no_arrays(Example((torch.ones(2),), {"images": [leaf]}))


def test_arrays_are_refused_and_single_numbers_are_not() -> None:
    require_no_arrays(Example((torch.ones(2), np.float32(0.5), 3, "text", None), {"k": [1.0]}))
    refused(np.ones(2), "numpy.ndarray")


def test_images_are_refused_too() -> None:
    image = pytest.importorskip("PIL.Image")
    refused(image.new("RGB", (2, 2)), "PIL.Image.Image")

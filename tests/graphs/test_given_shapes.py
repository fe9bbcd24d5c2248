"""Dynamic shapes that the inputs cannot have are refused before anything is captured."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.graphs.given_shapes import require_axes, shapes_of_tensors

X, Y = torch.randn(2, 3, 8, 16), torch.randn(4, 8)


class Both(nn.Module):
    """Takes tensors, nested ones too, beside what is none."""

    def forward(self, x: Tensor, flag: bool, more: dict[str, Any]) -> Tensor:
        y: Tensor = x.sum() + more["y"]
        return y


EXAMPLE = Example((X, True, {"y": Y, "none": None}), {})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"x": {4: "width"}}, "x has the axes 0 to 3, and axis 4 is to vary; give one of these"),
        ({"x": {-1: "width"}}, "x has the axes 0 to 3, and axis -1 is to vary"),
        ({"x": {2: "size", 3: "size"}}, "'size' is 8 for axis 2 of x, and 16 for axis 3 of x"),
        (
            {"x": {0: "batch"}, "flag": None, "more": {"y": {0: "batch"}, "none": None}},
            "'batch' is 2 for axis 0 of x, and 4 for axis 0 of more",
        ),
        (({5: "batch"}, None, None), "input 0 has the axes 0 to 3, and axis 5"),
    ],
)
def test_axes_and_names_that_do_not_fit_are_refused(shapes: Any, message: str) -> None:
    with pytest.raises(bnc.CaptureError) as failure:
        require_axes(Both(), EXAMPLE, shapes)
    assert message in str(failure.value)


@pytest.mark.parametrize(
    "shapes",
    [
        None,
        {"x": {2: "size"}, "flag": None, "more": {"y": {1: "size"}, "none": None}},
        {"x": {0: None, 9: None}},
        {"x": [None, None, "height", "width"], "flag": None, "more": None},
        {"unknown": {0: "batch"}},
    ],
)
def test_what_fits_or_torch_judges_itself_passes(shapes: Any) -> None:
    require_axes(Both(), EXAMPLE, shapes)


def test_shapes_of_what_is_no_tensor_are_left_out() -> None:
    axes = {"x": {0: "rows"}, "flag": None, "more": {"y": {1: "size"}, "none": None}}
    found = shapes_of_tensors(Both(), EXAMPLE, axes)
    assert found is not None
    assert [(name, shape) for name, _, shape in found] == [
        ("x", {0: "rows"}),
        ("more", {1: "size"}),
    ]
    nothing = shapes_of_tensors(Both(), EXAMPLE, ({0: "rows"}, None, None))
    assert nothing is not None
    assert [shape for _, _, shape in nothing] == [{0: "rows"}, None]
    assert shapes_of_tensors(Both(), EXAMPLE, {"x": {0: "rows"}, "more": {0: "rows"}}) is None


def test_fold_and_export_say_so(tmp_path: Any) -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), torch.randn(2, 3, 8, 8)
    message, shapes = "input has the axes 0 to 3, and axis 7", {"input": {7: "batch"}}
    with pytest.raises(bnc.CaptureError, match=message):
        bnc.fold(model, (x,), dynamic_shapes=shapes)
    with pytest.raises(bnc.CaptureError, match=message):
        bnc.export(model, (x,), tmp_path / "m.onnx", dynamic_shapes=shapes)

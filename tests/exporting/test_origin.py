import copy
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.exporting.input_choice import raw_inputs
from bnconvert.exporting.origin import Origin, is_unedited
from bnconvert.exporting.writing.onnx_contents import OnnxContents
from bnconvert.graphs.example import Example
from tests.onnx_metadata import metadata_of
from tests.zoo import IMAGE, Net, build, trained


def net() -> nn.Module:
    return build("plain")[0]  # always with the same weights


def origin(model: nn.Module, preprocess: Any = None, **more: Any) -> Origin:
    return Origin.of(model, raw_inputs(model, Example.of(IMAGE), preprocess), **more)


def codes(file: Origin, given: Origin) -> list[str]:
    return [difference.code for difference in file.differences(given)]


def changed(name: str, amount: float = 1e-6) -> nn.Module:
    model = net()
    with torch.no_grad():
        model.state_dict()[name].add_(amount)
    return model


class Renamed(nn.Module):
    """The same weights under other names, in another order."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.inner = nn.ModuleDict(dict(reversed(list(net.named_children()))))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (lambda: net(), []),
        (lambda: Renamed(net()), []),
        (lambda: net().train(), []),
        (lambda: changed("norm.num_batches_tracked", 1), []),
        (lambda: trained(Net(), seed=7), ["other-weights"]),
        (lambda: changed("conv.weight"), ["other-weights"]),
        (lambda: changed("norm.bias"), ["other-weights"]),
        (lambda: net().half(), ["other-weights"]),
        (lambda: changed("norm.running_mean"), ["other-statistics"]),
        (lambda: bnc.convert(net(), bnc.Frozen()), ["other-norms"]),
        (lambda: bnc.convert(net(), bnc.Group(2)), ["other-norms"]),
        (lambda: bnc.convert(net(), bnc.Renorm()), ["other-norms"]),
    ],
)
def test_digests_tell_other_weights_from_other_names(given: Any, expected: list[str]) -> None:
    model = given()
    assert codes(origin(net()), origin(model)) == expected


def test_an_eps_is_a_setting_and_a_momentum_is_not() -> None:
    model = net()
    model.get_submodule("norm").momentum = 0.5  # type: ignore[assignment]
    assert codes(origin(net()), origin(model)) == []
    model.get_submodule("norm").eps = 1e-3  # type: ignore[assignment]
    assert codes(origin(net()), origin(model)) == ["other-norms"]


@pytest.mark.parametrize(
    ("file", "given", "words"),
    [
        ((0.5, 0.2), None, "itself, and no preprocess was given; give raw inputs and --preprocess"),
        ((0.5, 0.2), (0.5, 0.25), "with other numbers; give raw inputs and --preprocess x=0.5/0.2"),
        (None, (0.5, 0.2), "that are normalized already; leave preprocess"),
        (((0.5, 0.4, 0.3), 0.2), None, "--preprocess x=0.5,0.4,0.3/0.2,0.2,0.2"),
        ((torch.rand(3, 8, 8), 0.2), None, "give the preprocess that it was exported with"),
    ],
)
def test_a_preprocessing_that_was_forgotten_is_said_as_an_option(
    file: Any, given: Any, words: str
) -> None:
    (difference,) = origin(net(), file).differences(origin(net(), given))
    assert words in str(difference)


@pytest.mark.parametrize(
    "given", [((0.5,) * 3, 0.2), (torch.tensor(0.5), 0.2), ([0.5] * 3, torch.full((3,), 0.2))]
)
def test_the_same_numbers_may_be_written_in_other_ways(given: Any) -> None:
    assert codes(origin(net(), (0.5, 0.2)), origin(net(), given)) == []


def test_tensors_without_numbers_are_no_obstacle() -> None:
    model = nn.Sequential(nn.LazyConv2d(3, 3), nn.Conv2d(3, 4, 1, device="meta"))
    model.register_buffer("graph", torch.eye(3).to_sparse())
    assert codes(origin(model), origin(model)) == []


def test_recomputed_statistics_are_told_from_changed_ones() -> None:
    model = changed("norm.running_var")
    (one,) = origin(net(), calibrated=True).differences(origin(model))
    (other,) = origin(net()).differences(origin(model))
    assert "recompute the model's over the same data first" in one.remedy
    assert "give those that were exported" in other.remedy


def test_a_file_says_its_origin_and_whether_it_was_edited(tmp_path: Path) -> None:
    """Its name and its metadata may change; no number may."""
    model, path = net(), tmp_path / "m.onnx"
    bnc.export(model, IMAGE, path)
    said = Origin.read(OnnxContents.of(path))
    assert said is not None
    assert codes(said, origin(model, dynamic_axes=OnnxContents.of(path).input_axes)) == []
    assert next(iter(said.dynamic_axes.values())) == ["batch", 3, 8, 8]
    assert is_unedited(OnnxContents.of(path.rename(tmp_path / "n.onnx")))
    path = tmp_path / "n.onnx"
    file = onnx.load(path)
    onnx.helper.set_model_props(file, {**metadata_of(path), "owner": "me"})
    onnx.save(file, path)
    assert is_unedited(OnnxContents.of(path))
    weight = max(file.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.raw_data = bytes(reversed(weight.raw_data))
    onnx.save(file, path)
    assert is_unedited(OnnxContents.of(path)) is False
    file.ClearField("metadata_props")
    onnx.save(file, path)
    assert (is_unedited(OnnxContents.of(path)), Origin.read(OnnxContents.of(path))) == (None, None)


def test_taking_digests_changes_nothing() -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    origin(model, (0.5, 0.2))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


AXES = {"x": ["batch", 3, 8, 8]}


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"x": [1, 3, 8, 8]}, "input x as (*, 3, 8, 8) and has it as (1, 3, 8, 8) now"),
        ({"x": ["batch", 3, "h", "w"]}, "input x as (*, 3, 8, 8) and has it as (*, 3, *, *) now"),
        ({"y": ["batch", 3, 8, 8]}, "x as (*, 3, 8, 8) and has it as none now; y as no input"),
    ],
)
def test_sizes_that_were_changed_in_the_file_are_said(now: Any, words: str) -> None:
    (difference,) = origin(net(), dynamic_axes=AXES).differences(origin(net(), dynamic_axes=now))
    assert difference.code == "other-axes"
    assert words in difference.text


def test_the_name_of_an_axis_that_may_vary_says_nothing() -> None:
    other = {"x": ("N", 3, 8, 8)}
    assert codes(origin(net(), dynamic_axes=AXES), origin(net(), dynamic_axes=other)) == []

"""What modules return is searched among a file's values, whatever its outputs show."""

import copy
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example, named_tensors
from bnconvert.verification.inner_values import weights_seen_inside
from tests.zoo import trained

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Hidden(nn.Module):
    """Two convolutions with norms, whose output is one number that nobody compares."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.second, self.last = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.second(torch.relu(self.norm(self.first(x)))))
        return y


def seen(model: nn.Module, path: Path) -> set[str]:
    example = Example.of((X,))
    exact = trained(Hidden()).double()
    exact.load_state_dict(model.state_dict())
    return weights_seen_inside(model, exact, example, path, named_tensors(model, example))


def test_layers_with_their_norms_folded_are_seen_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    model, path = trained(Hidden()), tmp_path / "m.onnx"
    bnc.export(model, (X,), path)
    every = {"first.weight", "first.bias", "norm", "second.weight", "second.bias", "last"}
    assert seen(model, path) == every
    file = onnx.load(path)
    (weight,) = (t for t in file.graph.initializer if tuple(t.dims) == (4, 4, 1, 1))
    array = onnx.numpy_helper.to_array(weight) * 1.001
    weight.CopyFrom(onnx.numpy_helper.from_array(array.astype("float32"), weight.name))
    onnx.save(file, path)
    assert seen(model, path) == {"first.weight", "first.bias", "norm"}


class Label(nn.Module):
    """Takes pixels, casts them to float32 as models that are deployed do, and returns a class."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.head = Hidden(), nn.Linear(4, 3)

    def forward(self, image: Tensor) -> Tensor:
        features = self.net(image.permute(0, 3, 1, 2).float() / 255)
        label: Tensor = self.head(features.mean((2, 3))).argmax(-1)
        return label


def test_a_model_that_casts_is_run_in_float64_all_the_same(tmp_path: Path) -> None:
    model, path = trained(Label()), tmp_path / "m.onnx"
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8, generator=generator)
    program = torch.onnx.export(model, (images,), dynamo=True, verbose=False)
    assert program is not None
    program.save(path)
    example, exact = Example.of((images,)), copy.deepcopy(model).double()
    found = weights_seen_inside(model, exact, example, path, named_tensors(model, example))
    assert {"net.first.weight", "net.norm", "net.second.weight", "head.weight"} <= found

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, fx, nn

import bnconvert as bnc
from bnconvert.exporting.input_choice import raw_inputs
from bnconvert.exporting.preprocessing import Normalizing, with_preprocess
from bnconvert.graphs.example import Example
from bnconvert.verification import raw_inputs as judge
from tests.zoo import trained

MEAN, STD = (127.0, 120.0, 110.0), (50.0, 60.0, 70.0)


def network(padding: int, channels: int = 3) -> nn.Module:
    conv = nn.Conv2d(channels, 8, 3, padding=padding)
    return trained(nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU()))


def normalized(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(part).double().reshape(1, 3, 1, 1) for part in (MEAN, STD))
    return (x.double() - mean) / std


def run(path: Path, *inputs: Tensor) -> Tensor:
    session = ort.InferenceSession(path)
    names = [value.name for value in session.get_inputs()]
    arrays = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    return torch.from_numpy(np.asarray(session.run(None, arrays)[0]))


@pytest.mark.parametrize(("padding", "left"), [(0, []), (1, ["add"])])
def test_normalization_goes_into_the_first_convolution_with_exact_borders(
    padding: int, left: list[str]
) -> None:
    """Without padding all of it; with padding a subtraction stays, the division goes."""
    model = network(padding).double()
    images = (torch.rand(2, 3, 9, 9, dtype=torch.double) * 255,)
    raw = raw_inputs(model, Example.of(images), (MEAN, STD))
    folded = bnc.fold(with_preprocess(model, raw), images)
    expected = model(normalized(images[0]))
    assert (folded.module(*images) - expected).abs().max() < 1e-12
    assert isinstance(folded.module, fx.GraphModule)
    names = [
        str(node.target).split(".")[1]
        for node in folded.module.graph.nodes
        if node.users and node.op == "call_function"
    ]
    assert [name for name in names if name in ("add", "sub", "mul", "div")] == left
    assert folded.report.count("folded") == 1


def test_the_model_itself_stays_and_keyword_inputs_are_normalized_too() -> None:
    model = network(1)
    state = copy.deepcopy(model.state_dict())
    x = torch.rand(2, 3, 9, 9)
    example = Example.of({"input": x})
    twin = with_preprocess(model, raw_inputs(model, example, (127.0, 50.0)))
    torch.testing.assert_close(twin(input=x), model((x - 127) / 50))
    assert not model._forward_pre_hooks
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_without_raw_inputs_the_model_is_not_copied() -> None:
    model = network(0)
    assert with_preprocess(model, ()) is model


DTYPES = torch.uint8, torch.bool, torch.int32, torch.int64, torch.float16, torch.float64


class Sum(nn.Module):
    """It adds up what one network makes of many images."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network(1)

    def forward(self, *images: Tensor) -> Tensor:
        return torch.cat([self.body(x) for x in images], dim=1)


def test_a_file_of_a_float32_model_takes_raw_inputs_of_any_dtype(tmp_path: Path) -> None:
    """A mean of 123.675 was cast to the images' dtype, in the file and in the judge alike."""
    model, path = Sum().eval(), tmp_path / "m.onnx"
    inputs = tuple(torch.randint(0, 256, (2, 3, 8, 8)).to(dtype) for dtype in DTYPES)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    preprocess = {f"images_{index}": (mean, std) for index in range(len(inputs))}
    assert bnc.export(model, inputs, path, preprocess=preprocess).failures == ()
    shift, scale = (torch.tensor(part).double().view(3, 1, 1) for part in (mean, std))
    expected = copy.deepcopy(model).double()(*((x.double() - shift) / scale for x in inputs))
    assert (run(path, *inputs) - expected).abs().max() < 1e-4
    assert bnc.verify(model, path, inputs, preprocess=preprocess).failures == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_model_in_half_precision_gets_inputs_that_are_rounded_once(dtype: torch.dtype) -> None:
    """In bfloat16 a mean of 123.675 is 123.5, which moves every pixel by 0.3 %."""
    model, x = network(0).to(dtype), torch.full((1, 3, 5, 5), 124, dtype=torch.uint8)
    (raw,) = raw_inputs(model, Example.of((x,)), (123.675, 58.395))
    (images,), _ = Normalizing([raw])(model, (x,), {})
    assert images.dtype == dtype
    exact = (124 - 123.675) / 58.395
    assert abs(float(images[0, 0, 0, 0]) / exact - 1) < 2 * torch.finfo(dtype).eps


class Blended(nn.Module):
    """It takes images in a dictionary, an offset by its name, and has inputs with a default."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network(1)

    def forward(
        self, batch: dict[str, Tensor], other: Tensor | None = None, *, offset: Tensor
    ) -> Tensor:
        y: Tensor = self.body(batch["image"]) + offset[:, None, None, None]
        return y if other is None else y - 2 * self.body(other)


IMAGES = torch.rand(2, 3, 8, 8) * 255
NESTED = Example(({"size": torch.rand(2), "image": IMAGES},), {"offset": torch.rand(2)})
PAIR = Example((*NESTED.args, IMAGES + 1), NESTED.kwargs)


@pytest.mark.parametrize(
    ("example", "preprocess", "images", "other"),
    [
        (NESTED, (MEAN, STD), normalized(IMAGES), None),
        (PAIR, {"other": (MEAN, STD)}, IMAGES.double(), normalized(IMAGES + 1)),
        (PAIR, {"image": (MEAN, STD)}, normalized(IMAGES), (IMAGES + 1).double()),
        (
            PAIR,
            {"batch.image": (MEAN, STD), "other": (0.0, 4)},
            normalized(IMAGES),
            (IMAGES + 1).double() / 4,
        ),
    ],
    ids=["the only image", "the second", "a key", "both"],
)
def test_the_raw_inputs_are_those_that_are_named(
    example: Example, preprocess: Any, images: Tensor, other: Tensor | None
) -> None:
    """The file's operators and the judge's numbers agree, though they share no code."""
    model = Blended().double()
    raw = raw_inputs(model, example, preprocess)
    expected = model({"image": images}, other, offset=NESTED.kwargs["offset"].double())
    judged = judge.normalized(example.in_double(), raw, exact=True)
    torch.testing.assert_close(model(*judged.args, **judged.kwargs), expected)
    twin = with_preprocess(model, raw)
    given = example.in_double()
    torch.testing.assert_close(twin(*given.args, **given.kwargs), expected)


def test_the_users_own_hooks_see_the_normalized_inputs(tmp_path: Path) -> None:
    model = trained(Blended())
    model.body.register_forward_pre_hook(lambda module, args: (args[0].clamp(-1, 1),))
    model.register_forward_pre_hook(
        lambda module, args: ({"image": args[0]["image"].clamp(-1, 1)},), prepend=True
    )
    report = bnc.export(model, NESTED, tmp_path / "m.onnx", preprocess=(MEAN, STD))
    assert report.failures == ()
    assert any("normalizes batch.image itself" in note for note in report.notes)
    with torch.no_grad():
        expected = model({"image": normalized(IMAGES).float()}, **NESTED.kwargs)
    session = ort.InferenceSession(tmp_path / "m.onnx")
    given = {"batch_size": NESTED.tensors()[0], "batch_image": IMAGES, **NESTED.kwargs}
    names = [value.name for value in session.get_inputs()]
    (got,) = session.run(None, {name: given[name].numpy() for name in names})
    torch.testing.assert_close(torch.from_numpy(got), expected, rtol=1e-3, atol=1e-4)


def test_a_file_that_normalizes_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge normalizes by itself: a mistake in the file's own operators is seen."""
    inside = Normalizing.__init__

    def wrong(self: Normalizing, inputs: Any) -> None:
        inside(self, inputs)
        ((raw, mean, std),) = self.inputs
        self.inputs = ((raw, mean.flip(0), std),)

    monkeypatch.setattr(Normalizing, "__init__", wrong)
    with pytest.raises(bnc.VerificationError):
        bnc.export(network(0), (IMAGES,), tmp_path / "m.onnx", preprocess=(MEAN, STD))

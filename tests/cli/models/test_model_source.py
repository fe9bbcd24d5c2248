from pathlib import Path

import pytest
import torch

from bnconvert.cli.models.model_source import load_model, require_example
from bnconvert.errors import LoadError, UsageError
from bnconvert.graphs.example import Example
from tests.zoo import Net, build

pytestmark = pytest.mark.usefixtures("factory")

ODD = """
import sys
import torch

def exits():
    sys.exit(0)

def exits_silently():
    sys.exit()

def leaves():
    raise SystemExit("bye")

def wants_more(size):
    return torch.nn.Identity()

def nothing():
    pass

def three():
    return torch.nn.Identity(), 1, 2

def odd_example():
    return torch.nn.Identity(), 3

def chatty():
    print("building")
    return torch.nn.Identity()

a_class = lambda: torch.nn.Identity
"""


def test_a_factory_is_found_by_file_or_by_module() -> None:
    for where in ("models.py:plain", "models:plain", str(Path("models.py").resolve()) + ":plain"):
        model, example = load_model(where, None, None)
        assert type(model) is Net
        assert example is not None
    model, example = load_model("models.py:without_example", None, None)
    with pytest.raises(LoadError, match="no example inputs: give --input 1,3,224,224"):
        require_example(example)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("models", "models: is not a MODEL; write file.py:factory"),
        ("nothing.py:f", "there is no such file"),
        ("nothing.here:f", "cannot be imported"),
        (
            "models.py:missing",
            "has no function missing; it has plain, .*; name one as file.py:function",
        ),
        (
            "models.py:broken",
            r"no weights here \(models.py, line 49: `raise RuntimeError\(.*\)`\); it must run",
        ),
        ("models.py:number", "returned a int; return a torch.nn.Module"),
    ],
)
def test_what_is_no_model_is_refused_with_a_next_step(source: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        load_model(source, None, None)


@pytest.mark.parametrize(
    ("package", "source"),
    [("timm", "timm:resnet_eighteen"), ("torchvision", "torchvision:resnet_eighteen")],
)
def test_an_unknown_zoo_name_is_refused(package: str, source: str) -> None:
    pytest.importorskip(package)
    with pytest.raises(LoadError, match=r"list the names with"):
        load_model(source, None, None)


def test_a_detector_is_built_without_fetching_its_backbone() -> None:
    pytest.importorskip("torchvision")
    model, _ = load_model("torchvision:fasterrcnn_mobilenet_v3_large_fpn", None, None)
    assert type(model).__name__ == "FasterRCNN"


def test_inputs_are_read_by_shape_name_and_dtype() -> None:
    _, example = load_model("models.py:plain", None, ["2,3,8,8"])
    assert isinstance(example, tuple)
    assert example[0].shape == (2, 3, 8, 8)
    _, again = load_model("models.py:plain", None, ["2,3,8,8"])
    assert isinstance(again, tuple)
    assert torch.equal(example[0], again[0])
    _, named = load_model("models.py:two_inputs", None, ["vector:2,5", "image:2,3,8,8:float64"])
    assert isinstance(named, dict)
    assert (named["vector"].shape, named["image"].dtype) == ((2, 5), torch.float64)
    _, integers = load_model("models.py:plain", None, ["4,2:int64"])
    assert isinstance(integers, tuple)
    assert integers[0].dtype is torch.int64


@pytest.mark.parametrize("text", ["1,three", "x:", "", "1,2:float33", "1;2"])
def test_a_shape_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(LoadError, match="is not a shape; write 1,3,224,224"):
        load_model("models.py:plain", None, [text])


def test_a_name_that_the_forward_does_not_take_is_refused_with_those_it_takes() -> None:
    with pytest.raises(LoadError, match="forward takes image, vector; name one of these"):
        load_model("models.py:two_inputs", None, ["picture:2,3,8,8", "vector:2,5"])


def test_random_inputs_that_are_raw_are_drawn_around_the_mean() -> None:
    """Numbers around 0 would all be -2 after (x - 127) / 64, and prove little."""
    _, drawn = load_model("models.py:plain", None, ["2,3,8,8:uint8"], (127.0, 64.0))
    assert drawn is not None
    (x,) = Example.of(drawn).tensors()
    assert (x.dtype, x.shape) == (torch.uint8, (2, 3, 8, 8))
    assert 100 < float(x.double().mean()) < 150
    _, own = load_model("models.py:plain", None, None, (127.0, 64.0))
    assert own is not None
    assert torch.equal(Example.of(own).tensors()[0], build("plain")[1][0])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "exits",
            "called sys.exit(0) (odd.py, line 6: `sys.exit(0)`); it must run without arguments",
        ),
        (
            "exits_silently",
            "called sys.exit() (odd.py, line 9: `sys.exit()`); it must run without arguments",
        ),
        ("leaves", "called sys.exit('bye') (odd.py, line 12: "),
        ("wants_more", "missing 1 required positional argument"),
        ("a_class", "returned a type; return a torch.nn.Module"),
        ("nothing", "returned a NoneType; return a torch.nn.Module"),
        ("three", "returned a tuple; return a torch.nn.Module"),
        ("odd_example", "returned a int as example inputs; return a tuple of tensors"),
    ],
)
def test_a_factory_that_misbehaves_is_told_so(source: str, said: str) -> None:
    Path("odd.py").write_text(ODD)
    with pytest.raises(LoadError) as error:
        load_model(f"odd.py:{source}", None, None)
    assert said in str(error.value)


def test_what_a_factory_prints_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    Path("odd.py").write_text(ODD)
    load_model("odd.py:chatty", None, None)
    out, err = capsys.readouterr()
    assert out == ""
    assert "building" in err


def test_an_input_is_named_once() -> None:
    with pytest.raises(UsageError, match="--input image: is given twice; give each input once"):
        load_model("models.py:two_inputs", None, ["image:1,3,8,8", "image:2,3,8,8"])


MADE = """
import torch

model = torch.nn.BatchNorm2d(3)

def factory(num_classes=4, pretrained=False):
    layer = torch.nn.Linear(2, num_classes)
    layer.pretrained = pretrained
    return layer
"""


def test_a_module_is_a_model_and_a_factory_takes_arguments() -> None:
    Path("made.py").write_text(MADE)
    model, example = load_model("made.py:model", None, None)
    assert (type(model), example) == (torch.nn.BatchNorm2d, None)
    layer, _ = load_model(
        "made.py:factory", None, None, pretrained=True, arguments=["num_classes=10"]
    )
    assert isinstance(layer, torch.nn.Linear)
    assert layer.out_features == 10
    assert layer.pretrained
    with pytest.raises(LoadError, match="has no function factry; did you mean factory"):
        load_model("made.py:factry", None, None)


def test_a_checkpoint_of_other_classes_names_the_argument_of_the_users_own_function() -> None:
    Path("made.py").write_text(MADE)
    torch.save(torch.nn.Linear(2, 10).state_dict(), "ten.pt")
    with pytest.raises(LoadError, match=r"make the model with 10: --model-kwargs num_classes=10$"):
        load_model("made.py:factory", Path("ten.pt"), None)
    load_model("made.py:factory", Path("ten.pt"), None, arguments=["num_classes=10"])

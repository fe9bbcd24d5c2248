from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bnconvert.cli.sources.images import ImagePreprocessing, open_image
from bnconvert.errors import LoadError

Image = pytest.importorskip("PIL.Image")
PLAIN: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def picture(file: Path, width: int, height: int) -> np.ndarray:
    """Write an image of noise and return its pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return pixels


def test_without_resizing_an_image_is_its_normalized_middle(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png", width=12, height=8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    read = ImagePreprocessing(img_size=4, crop_pct=0.5, mean=mean, std=std).read(tmp_path / "a.png")
    middle = (pixels[2:6, 4:8] / 255 - np.array(mean)) / np.array(std)
    torch.testing.assert_close(read.double(), torch.tensor(middle).permute(2, 0, 1))


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("size", [(61, 40), (33, 97), (50, 50), (9, 7)])
def test_images_are_read_as_timm_reads_them_in_evaluation(
    tmp_path: Path, size: tuple[int, int], crop_mode: str
) -> None:
    timm = pytest.importorskip("timm.data")
    picture(tmp_path / "a.png", *size)
    for interpolation, crop_pct in (("bicubic", 0.95), ("bilinear", 0.875), ("nearest", 1.0)):
        same: dict[str, Any] = {
            "crop_pct": crop_pct,
            "interpolation": interpolation,
            "crop_mode": crop_mode,
        }
        transform = timm.create_transform(input_size=(3, 31, 31), is_training=False, **same)
        read = ImagePreprocessing(img_size=31, **same).read(tmp_path / "a.png")
        torch.testing.assert_close(read, transform(Image.open(tmp_path / "a.png")))


def test_an_image_smaller_than_wanted_is_enlarged(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (255, 0, 51)).save(tmp_path / "a.png")
    read = ImagePreprocessing(img_size=16, **PLAIN).read(tmp_path / "a.png")
    colour = torch.tensor([1.0, 0.0, 0.2]).reshape(3, 1, 1)
    torch.testing.assert_close(read, colour.expand(3, 16, 16))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK"])
def test_every_usual_kind_of_image_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    grey = Image.new("L", (8, 8), 255)
    grey.convert(mode).save(tmp_path / "a.tif")
    read = ImagePreprocessing(img_size=8, crop_pct=1.0, mean=(0.5, 0.0, 0.25)).read(
        tmp_path / "a.tif"
    )
    std = torch.tensor((0.229, 0.224, 0.225))
    torch.testing.assert_close(read[:, 0, 0], torch.tensor((0.5, 1.0, 0.75)) / std)


def test_what_cannot_be_read_is_refused_by_its_name(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    picture(whole, 64, 64)
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:500])
    (tmp_path / "text.png").write_text("no image")
    for name in ("half.png", "text.png", "missing.png"):
        with pytest.raises(LoadError, match=rf"{name}: is not a readable image \(.*\); remove it"):
            open_image(tmp_path / name)


def test_more_than_eight_bits_are_refused_and_not_cut_off(tmp_path: Path) -> None:
    deep = np.arange(16, dtype=np.uint16).reshape(4, 4) * 4096
    Image.fromarray(deep).save(tmp_path / "deep.png")
    with pytest.raises(LoadError, match=r"deep.png: has more than 8 bits per channel; .* npz:FILE"):
        open_image(tmp_path / "deep.png")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"interpolation": "cubic"}, "there is no 'cubic'; use one of nearest, bilinear, bicubic"),
        ({"crop_pct": 1.2}, "crop_pct: is 1.2; use a fraction above 0 and up to 1"),
        ({"std": (1.0, 0.0, 1.0)}, "std: is .*; divide by positive numbers"),
        ({"crop_mode": "border"}, "the model expects 'border' images; give a loader of your own"),
    ],
)
def test_values_that_mean_nothing_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadError, match=message):
        ImagePreprocessing(**wrong)


def test_a_model_says_how_its_images_are_read_and_the_user_has_the_last_word() -> None:
    model: Any = nn.Identity()  # it gets an attribute that its class does not declare
    assert ImagePreprocessing.of(model) == ImagePreprocessing()
    model.default_cfg = {
        "input_size": (3, 96, 96),
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "crop_mode": "squash",
        "url": "ignored",
    }
    half = (0.5, 0.5, 0.5)
    assert ImagePreprocessing.of(model) == ImagePreprocessing(
        96, 0.9, "bicubic", half, half, "squash"
    )
    assert ImagePreprocessing.of(
        model, 32, None, "box", None, (1.0, 1.0, 1.0)
    ) == ImagePreprocessing(32, 0.9, "box", half, (1.0, 1.0, 1.0), "squash")


def test_a_model_that_wants_oblongs_is_refused_unless_a_size_is_given() -> None:
    model: Any = nn.Identity()  # it gets an attribute that its class does not declare
    model.default_cfg = {"input_size": (3, 256, 128)}
    with pytest.raises(LoadError, match="img_size: the model expects 256 x 128 pixels"):
        ImagePreprocessing.of(model)
    assert ImagePreprocessing.of(model, 64).img_size == 64


def test_a_timm_model_is_asked() -> None:
    timm = pytest.importorskip("timm")
    images = ImagePreprocessing.of(timm.create_model("resnet18"))
    assert (images.img_size, images.interpolation) == (224, "bicubic")


def test_torchvisions_weights_say_how_and_read_the_same(tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    for name in ("resnet50", "mobilenet_v3_small", "inception_v3"):
        preset = models.get_model_weights(name).DEFAULT.transforms()
        images = ImagePreprocessing.of(nn.Identity(), transforms=preset)
        picture(tmp_path / "a.png", width=400, height=331)
        wanted = preset(Image.open(tmp_path / "a.png"))
        torch.testing.assert_close(images.read(tmp_path / "a.png"), wanted)
        assert str(images).endswith(" pixels"), "nothing is left unsaid"


def test_images_are_as_large_as_the_example_and_what_nobody_said_is_told() -> None:
    model = nn.Identity()
    images = ImagePreprocessing.of(model, example=(torch.zeros(2, 3, 32, 32),))
    assert images.img_size == 32
    assert str(images) == (
        "images are read at 32 x 32 pixels, with ImageNet's mean and deviation, because nothing "
        "says others (--mean, --std)"
    )
    unknown = ImagePreprocessing.of(model, example=(torch.zeros(2, 10),))
    assert str(unknown).startswith(
        "images are read at 224 x 224 pixels, because nothing says their size (--img-size)"
    )
    half = (0.5, 0.5, 0.5)
    given = ImagePreprocessing.of(model, 64, None, None, half, half)
    assert str(given) == "images are read at 64 x 64 pixels"
    with pytest.raises(LoadError, match="the model expects 32 x 64 pixels"):
        ImagePreprocessing.of(model, example=(torch.zeros(2, 3, 32, 64),))

"""Folders of images are what torchvision's ImageFolder makes of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bnconvert.cli.sources.image_folders import class_folders
from bnconvert.cli.sources.images import ImagePreprocessing
from bnconvert.errors import LoadError

Image = pytest.importorskip("PIL.Image")
datasets = pytest.importorskip("torchvision.datasets")
transforms = pytest.importorskip("torchvision.transforms")
READ = ImagePreprocessing(img_size=12, crop_pct=0.8, interpolation="bilinear")
TRANSFORM = transforms.Compose(
    [
        transforms.Resize(15),
        transforms.CenterCrop(12),
        transforms.ToTensor(),
        transforms.Normalize(READ.mean, READ.std),
    ]
)
#: By the name of a file, the mode of its image.
FILES = {
    "class10/a.JPG": "RGB",
    "class10/b.jpeg": "L",
    "class10/deep/er/c.png": "RGBA",
    "class10/deep/d.PNG": "P",
    "class2/B.tiff": "CMYK",
    "class2/a.bmp": "1",
    "class2/c.webp": "RGB",
    "class2/d.pgm": "L",
    "class2/e.ppm": "RGB",
    "Upper/rotated.jpg": "RGB",
    "Upper/transparent.png": "LA",
    "Upper/notes.txt": "",
}


def images(root: Path) -> Path:
    """Write noise into every file, in one with a note that a camera was turned."""
    draw = np.random.default_rng(0)
    for name, mode in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not mode:
            path.write_text("no image")
            continue
        picture = Image.fromarray(draw.integers(0, 256, (19, 33, 3), dtype=np.uint8)).convert(mode)
        turned = Image.Exif()
        turned[0x0112] = 6
        picture.save(path, **({"exif": turned} if "rotated" in name else {}))
    return root


def read(root: Path) -> Iterator[tuple[Tensor, int]]:
    """Yield all that is read, in the order before it is shuffled."""
    data = class_folders("imagefolder:", root, 4, READ)
    pairs = [pair for batch in data.batches for pair in zip(*batch, strict=True)]
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    for index in range(len(pairs)):
        pixels, label = pairs[order.index(index)]
        yield pixels, int(label)


def test_pixels_order_and_classes_are_those_of_torchvision(tmp_path: Path) -> None:
    root = images(tmp_path)
    dataset = datasets.ImageFolder(str(root), TRANSFORM)
    own = [*read(root)]
    assert len(own) == len(dataset) == len(FILES) - 1
    for (pixels, label), (wanted, index) in zip(own, dataset, strict=True):
        assert label == index
        torch.testing.assert_close(pixels, wanted, rtol=0, atol=1e-6)


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    root = images(tmp_path / "a")
    (root / "class2" / "linked").symlink_to(images(tmp_path / "b") / "class10")
    assert [label for _, label in read(root)] == datasets.ImageFolder(str(root)).targets


def test_an_empty_folder_is_refused_here_too(tmp_path: Path) -> None:
    root = images(tmp_path)
    (root / ".ipynb_checkpoints").mkdir()
    with pytest.raises(FileNotFoundError):
        datasets.ImageFolder(str(root))
    with pytest.raises(LoadError, match=r"\.ipynb_checkpoints holds no image, and would count as"):
        class_folders("imagefolder:", root, 4, READ)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    root = images(tmp_path)
    whole = (root / "class10" / "a.JPG").read_bytes()
    (root / "class10" / "a.JPG").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LoadError, match=r"class10/a\.JPG: is not a readable image .*; remove it"):
        [*read(root)]

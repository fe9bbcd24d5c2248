import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnconvert.cli.sources import npz
from bnconvert.cli.sources.npz import NpzArrays
from bnconvert.errors import LoadError


class Two(nn.Module):
    """Takes two inputs, one of which may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        return image if mask is None else image * mask


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.npz"


IMAGES = np.arange(20, dtype=np.float32).reshape(5, 4)
LABELS = np.array([0, 1, 0, 2, 1])


def test_arrays_go_in_by_the_forwards_names_and_the_rest_does_not(file: Path) -> None:
    np.savez(file, image=IMAGES, mask=IMAGES > 3, labels=LABELS, index=LABELS)
    arrays = NpzArrays.of(file, Two())
    batches = list(arrays.batches(2))
    assert [len(batch["image"]) for batch in batches] == [2, 2, 1]
    inputs = arrays.inputs(batches[1])
    assert isinstance(inputs, dict)
    assert list(inputs) == ["image", "mask"]
    assert torch.equal(inputs["image"], torch.from_numpy(IMAGES[2:4]))
    assert arrays.classes(batches[1]).tolist() == [0, 2]


def test_the_only_array_beside_the_labels_needs_no_name(file: Path) -> None:
    np.savez(file, data=IMAGES, y=LABELS)
    arrays = NpzArrays.of(file, Two())
    (batch,) = arrays.batches(5)
    inputs = arrays.inputs(batch)
    assert isinstance(inputs, Tensor)
    assert torch.equal(inputs, torch.from_numpy(IMAGES))
    assert arrays.label == "y"


def test_a_parameter_of_the_forward_is_no_label(file: Path) -> None:
    class Taught(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    np.savez(file, x=IMAGES, y=LABELS)
    assert NpzArrays.of(file, Taught()).taken == ("x", "y")
    assert NpzArrays.of(file, Taught()).label is None


def test_targets_of_a_regression_are_no_classes_and_no_input(file: Path) -> None:
    np.savez(file, data=IMAGES, y=LABELS / 2)
    arrays = NpzArrays.of(file, Two())
    assert (arrays.taken, arrays.label) == (("data",), None)


def test_floating_numbers_get_the_models_dtype_and_integers_keep_theirs(file: Path) -> None:
    np.savez(file, image=IMAGES.astype(np.float64), mask=LABELS)
    arrays = NpzArrays.of(file, Two()).arrays
    assert (arrays["image"].dtype, arrays["mask"].dtype) == (torch.float32, torch.int64)
    assert NpzArrays.of(file, Two().double()).arrays["image"].dtype is torch.float64


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "a.npz: is empty; save arrays"),
        ({"image": IMAGES, "y": LABELS[:3]}, "image has 5, y has 3; save arrays of the same"),
        ({"a": IMAGES, "b": IMAGES}, "holds a, b, and the model's forward takes image, mask; name"),
        ({"image": np.array(["a", "b"])}, "image holds <U1, which are not numbers; leave it out"),
        ({"image": np.array([None])}, "cannot be read .* save numbers with numpy.savez"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    file: Path, arrays: dict[str, Any], message: str
) -> None:
    np.savez(file, **arrays)
    with pytest.raises(LoadError, match=message):
        NpzArrays.of(file, Two())


def test_what_is_no_archive_is_refused(file: Path) -> None:
    with pytest.raises(LoadError, match=r"a.npz: there is no such file; save one with"):
        NpzArrays.of(file, Two())
    with file.open("wb") as stream:
        np.save(stream, IMAGES)
    with pytest.raises(LoadError, match=r"a.npz: is not an .npz file; save one with numpy.savez"):
        NpzArrays.of(file, Two())


class Bomb:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def test_an_archive_of_pickles_is_refused_and_never_run(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    np.savez(file, image=np.array([Bomb()], dtype=object))
    with pytest.raises(LoadError, match=r"cannot be read .* save numbers with numpy\.savez"):
        NpzArrays.of(file, Two())
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    "entry",
    [b"", b"no array", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'shape': (1" + b"0" * 30 + b",)}"],
)
def test_an_archive_with_entries_that_are_no_arrays_is_refused(file: Path, entry: bytes) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("image.npy", entry)
    with pytest.raises(LoadError, match=r"a.npz: "):
        NpzArrays.of(file, Two())


def test_an_archive_that_unpacks_to_far_too_much_is_refused_before_it_is(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(file, image=np.zeros((1000, 1000)))
    monkeypatch.setattr(npz, "_LARGE", 2**20)
    with pytest.raises(LoadError, match="unpacks to 0 GB; save numbers with"):
        NpzArrays.of(file, Two())
    assert file.stat().st_size < 2**16

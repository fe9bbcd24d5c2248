"""--data: batches of real data from the source that the user named, and how models run on them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bnconvert.cli.domain_names import FOLDERS, domain_function
from bnconvert.cli.images import ImagePreprocessing
from bnconvert.cli.model_options import ModelChoice
from bnconvert.cli.npz import NpzArrays
from bnconvert.cli.user_code import describe_with_line, load_object, user_code
from bnconvert.cli.zoo_models import torchvision_transforms
from bnconvert.errors import BnconvertError, LoadError
from bnconvert.reporting.progress import showing_progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bnconvert.graphs.example import Inputs

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
_FORMS = "images:DIR, imagefolder:DIR, npz:FILE, package.module:loader or file.py:loader"


def _whole(batch: Any) -> Any:
    return batch


@dataclass(frozen=True)
class Data:
    """Batches of data, with the model's inputs and the class labels in each.

    Attributes:
        source: the value of the option.
        batches: the batches; they can be read once.
        inputs: inputs(batch) returns the model's inputs: a tensor, or a tuple or mapping of them.
        labels: labels(batch) returns the class labels; None where there are none.
        domains: domains(batch) returns the domain of the batch, or of each sample; None where
            nobody asked for it.
        option: which one names the data.
    """

    source: str
    batches: Iterable[Any]
    inputs: Callable[[Any], Any] = _whole
    labels: "Callable[[Any], Tensor] | None" = None
    domains: Callable[[Any], Any] | None = None
    option: str = "--data"

    def first(self, samples: int | None) -> Iterator[Any]:
        """Yield batches until so many samples were read, or all of them."""
        from bnconvert.statistics.batches import BatchReader

        return (batch.value for batch in BatchReader(self.batches, samples))

    def run(self, model: "nn.Module", batch: Any) -> Any:
        """Return the model's output for a batch.

        Raises:
            LoadError: the model cannot take it.
        """
        from torch import device as device_of

        from bnconvert.statistics.batches import default_forward, tensors_of

        inputs = self.inputs(batch)
        device = next((tensor.device for tensor in model.buffers()), device_of("cpu"))
        try:
            return default_forward(device)(model, inputs)
        except BnconvertError:
            raise
        except (Exception, SystemExit) as failure:
            shapes = " and ".join(str(tuple(t.shape)) for t in tensors_of(inputs))
            raise LoadError(
                f"{self.option} {self.source}: on a batch of {shapes} the model "
                f"{describe_with_line(failure)}; give what its forward takes"
            ) from failure

    def calibration(self, model: "nn.Module") -> Iterator[Any]:
        """Yield the inputs of each batch, after running a replica on the first one.

        Raises:
            LoadError: the model cannot take it.
        """
        from bnconvert.modules.copying import replicate
        from bnconvert.statistics.observing import observing

        for index, batch in enumerate(self.batches):
            if index == 0:
                with observing():
                    self.run(replicate(model), batch)
            yield self.inputs(batch)


def load_data(
    source: str,
    model: "nn.Module",
    batch_size: int,
    images: ImagePreprocessing,
    samples: int | None = None,
    domains: str | None = None,
    *,
    option: str = "--data",
) -> Data:
    """Return the data that `source`, the value of `option`, names; `samples` are read, or all.

    Args:
        source: the value of the option.
        model: that runs on them.
        batch_size: for files and arrays.
        images: how images are read.
        samples: how many are read.
        domains: the value of --domains.
        option: which one names the data.

    Raises:
        LoadError: it names no data, or random numbers, or cannot be read.
    """
    kind, _, name = source.partition(":")
    if kind == "random":
        raise LoadError(
            f"{option} {source}: random numbers do not have the statistics of your data; "
            f"give {_FORMS}"
        )
    if not name:
        raise LoadError(f"{option} {source}: is not a source of data; give {_FORMS}")
    if kind in ("images", "imagefolder") and images.source:
        typer.echo(f"{source}: {images}", err=True)  # stdout is for results
    named = domain_function(domains) if domains and ":" in domains else None
    if kind == "npz":
        arrays = NpzArrays.of(Path(name), model, None if named else domains)
        labels = arrays.classes if arrays.label else None
        names = named or (arrays.domains if domains else None)
        return Data(source, arrays.batches(batch_size), arrays.inputs, labels, names, option)
    if kind == "imagefolder" and domains == FOLDERS:
        return _of_domains(_image_folder(source, Path(name), batch_size, images), Path(name))
    if domains and not named:
        domain_function(domains)
    if kind == "images":
        read = _images(source, Path(name), batch_size, images)
    elif kind == "imagefolder":
        read = _image_folder(source, Path(name), batch_size, images)
    else:
        loader = _load_loader(source, samples, option)
        read = Data(source, _translating_errors(source, loader, option))
    return replace(read, domains=named, option=option)


def model_and_data(given: Mapping[str, Any]) -> tuple["nn.Module", Data]:
    """Return the model and the data that the values of a command's options name.

    Raises:
        LoadError: says what cannot be found or read, and what to give instead.
    """
    chosen = ModelChoice.of(given)
    with showing_progress(first="loading the model"):
        model, example = chosen.load()
    images = preprocessing_of(chosen, model, example, given)
    more = images, given["samples"], given.get("domains")
    return model, load_data(given["data"], model, given["batch_size"], *more)


def preprocessing_of(
    chosen: ModelChoice, model: "nn.Module", example: "Inputs | None", given: Mapping[str, Any]
) -> ImagePreprocessing:
    """Return how images are read for a model: as options, example, model or weights say."""
    reading = (given[name] for name in ("img_size", "crop_pct", "interpolation", "mean", "std"))
    kind, _, name = chosen.source.partition(":")
    transforms = torchvision_transforms(*name.split("@")) if kind == "torchvision" else None
    return ImagePreprocessing.of(model, *reading, example=example, transforms=transforms)


def _load_loader(source: str, samples: int | None, option: str) -> Iterable[Any]:
    """Return the iterable of batches that the user's object is or returns."""
    from torch import Tensor, nn

    from bnconvert.statistics.batches import is_endless

    made = load_object(source)
    with user_code(f"{option} {source}", "it must run without arguments"):
        loader = made() if callable(made) else made
    # These can be iterated over, but not batch by batch.
    wrong = isinstance(loader, Tensor | nn.Module | Mapping | str)
    if wrong or not isinstance(loader, Iterable):
        raise LoadError(
            f"{option} {source}: gives a {type(loader).__name__}; let it return an iterable of "
            "batches, such as a DataLoader"
        )
    if samples is None and is_endless(loader):
        raise LoadError(
            f"{option} {source}: never ends (itertools.{type(loader).__name__}); let it return as "
            "many batches as you want: itertools.islice(batches, 100)"
        )
    return loader


def _translating_errors(source: str, batches: Iterable[Any], option: str) -> Iterator[Any]:
    """Yield batches; raise errors of the user's loader as LoadError."""
    with user_code(f"{option} {source}", "fix the loader"):
        iterator = iter(batches)
    end = object()
    while True:
        with user_code(f"{option} {source}", "fix the loader"):
            batch = next(iterator, end)
        if batch is end:
            return
        yield batch


def _images(source: str, folder: Path, batch_size: int, images: ImagePreprocessing) -> Data:
    """Return the images of one folder, without labels."""
    import torch

    if not folder.is_dir():
        raise LoadError(f"{folder}: there is no such folder; give one with images")
    files = _images_in(folder)
    if not files:
        raise LoadError(
            f"{folder}: holds no image; for one folder per class, give imagefolder:{folder}"
        )
    parts = _shuffled_batches(files, batch_size)
    return Data(source, (torch.stack([images.read(file) for file in part]) for part in parts))


def _image_folder(source: str, folder: Path, batch_size: int, images: ImagePreprocessing) -> Data:
    """Return the images of a folder per class, with labels."""
    import torch

    if not folder.is_dir():
        raise LoadError(f"{folder}: there is no such folder; give one with a folder per class")
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    pairs = [(file, index) for index, path in enumerate(classes) for file in _images_in(path)]
    if not pairs:
        raise LoadError(f"{folder}: has no folders of images; for a flat one, give images:{folder}")

    def batches() -> Iterator[tuple["Tensor", "Tensor"]]:
        for part in _shuffled_batches(pairs, batch_size):
            pixels = torch.stack([images.read(file) for file, _ in part])
            yield pixels, torch.tensor([label for _, label in part], device="cpu")

    return Data(source, batches(), lambda batch: batch[0], lambda batch: batch[1])


def _of_domains(read: Data, folder: Path) -> Data:
    """Return the data of a folder of folders whose names are domains, and no classes."""
    names = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]

    def domains(batch: Any) -> list[str]:
        return [names[place] for place in batch[1].tolist()]

    return replace(read, labels=None, domains=domains)


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _shuffled_batches(items: list[Any], batch_size: int) -> Iterator[list[Any]]:
    """Yield batches of the items, shuffled in the same way at every call.

    Neighbouring files are alike, and batches of one class have other statistics than the data.
    """
    import torch

    order = torch.randperm(
        len(items), generator=torch.Generator().manual_seed(0), device="cpu"
    ).tolist()
    for first in range(0, len(items), batch_size):
        yield [items[index] for index in order[first : first + batch_size]]

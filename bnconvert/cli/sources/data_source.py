"""--data and its like: the data of the source that the user named."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bnconvert.cli.models.model_options import ModelChoice
from bnconvert.cli.models.zoo_models import torchvision_transforms
from bnconvert.cli.sources.data import Data
from bnconvert.cli.sources.domain_names import FOLDERS, domain_function
from bnconvert.cli.sources.image_folders import class_folders, flat_folder, of_domains
from bnconvert.cli.sources.images import ImagePreprocessing
from bnconvert.cli.sources.npz import NpzArrays
from bnconvert.cli.user_code import load_object, user_code
from bnconvert.cli.values import has_images
from bnconvert.errors import LoadError
from bnconvert.reporting.progress import showing_progress

if TYPE_CHECKING:
    from torch import nn

    from bnconvert.graphs.example import Inputs

_FORMS = "images:DIR, imagefolder:DIR, npz:FILE, package.module:loader or file.py:loader"


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
    if has_images(source) and images.source:
        typer.echo(f"{source}: {images}", err=True)  # stdout is for results
    named = domain_function(domains) if domains and ":" in domains else None
    if kind == "npz":
        arrays = NpzArrays.of(Path(name), model, None if named else domains)
        labels = arrays.classes if arrays.label else None
        names = named or (arrays.domains if domains else None)
        return Data(source, arrays.batches(batch_size), arrays.inputs, labels, names, option)
    if kind == "imagefolder" and domains == FOLDERS:
        return of_domains(class_folders(source, Path(name), batch_size, images), Path(name))
    if domains and not named:
        domain_function(domains)
    if kind == "images":
        read = flat_folder(source, Path(name), batch_size, images)
    elif kind == "imagefolder":
        read = class_folders(source, Path(name), batch_size, images)
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
    images = preprocessing_of(chosen, model, example, given, given["data"])
    more = images, given["samples"], given.get("domains")
    return model, load_data(given["data"], model, given["batch_size"], *more)


def preprocessing_of(
    chosen: ModelChoice,
    model: "nn.Module",
    example: "Inputs | None",
    given: Mapping[str, Any],
    source: str,
) -> ImagePreprocessing:
    """Return how the images of a source are read: as options, example, model or weights say."""
    names = ("img_size", "crop_pct", "interpolation", "mean", "std")
    if not has_images(source):  # none is read, but what was typed must make sense
        return ImagePreprocessing(**{n: given[n] for n in names if given[n] is not None})
    reading = (given[name] for name in names)
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

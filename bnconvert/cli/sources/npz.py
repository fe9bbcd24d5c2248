"""--data npz:FILE: named arrays as batches, for the parameters of the model's forward."""

import inspect
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnconvert.errors import LoadError

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Some rows of each array of a file, by name.
ArrayBatch = dict[str, "Tensor"]
#: An archive that unpacks to more than this, and to so many times its size, is a bomb.
_LARGE, _RATIO = 2**30, 100
_LABELS = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True, eq=False)
class NpzArrays:
    """The arrays of an .npz file, all of the same length.

    Attributes:
        arrays: the arrays by name.
        taken: the names of the model's inputs: the arrays that its forward has parameters for, or
            else the only array that is not a label.
        is_named: whether the inputs are passed by name, or the only one as the first argument.
        label: the name of the array of class labels, or None.
        domain: the name of the array of domains, or None; it holds places in `domain_names`.
        domain_names: of the domains.
    """

    arrays: Mapping[str, "Tensor"]
    taken: tuple[str, ...]
    is_named: bool
    label: str | None
    domain: str | None = None
    domain_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, file: Path, model: "nn.Module", domain: str | None = None) -> "NpzArrays":
        """Read the arrays; floating ones get the dtype of the model's parameters.

        Args:
            file: the file.
            model: whose forward takes them.
            domain: the array that names the domain of each sample, in numbers or strings.

        Raises:
            LoadError: the file cannot be read, or does not fit the model's forward.
        """
        read = _read(file)
        names: tuple[str, ...] = ()
        if domain is not None:
            names, read[domain] = _as_places(file, domain, read)
        arrays = {name: _as_tensor(file, name, a, model) for name, a in read.items()}
        lengths = {name: len(array) if array.dim() else 0 for name, array in arrays.items()}
        if len(set(lengths.values())) != 1:
            listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise LoadError(f"{file}: {listed or 'is empty'}; save arrays of the same length")
        parameters = list(inspect.signature(model.forward).parameters)
        known = tuple(name for name in parameters if name in arrays and name != domain)
        labels = [n for n in _LABELS if n in arrays and n not in known and n != domain]
        taken = known or tuple(name for name in arrays if name not in (*labels, domain))
        if not known and len(taken) != 1:
            raise LoadError(
                f"{file}: holds {', '.join(arrays)}, and the model's forward takes "
                f"{', '.join(parameters)}; name the arrays so"
            )
        # Classes are integers; a regression's targets would be taken for some.
        whole = [name for name in labels if not arrays[name].is_floating_point()]
        return cls(arrays, taken, bool(known), whole[0] if whole else None, domain, names)

    def batches(self, batch_size: int) -> Iterator[ArrayBatch]:
        """Yield the rows of all arrays in their order."""
        length = len(self.arrays[self.taken[0]])
        for first in range(0, length, batch_size):
            yield {name: a[first : first + batch_size] for name, a in self.arrays.items()}

    def inputs(self, batch: ArrayBatch) -> "ArrayBatch | Tensor":
        """Return the model's inputs in a batch."""
        if not self.is_named:
            return batch[self.taken[0]]
        return {name: batch[name] for name in self.taken}

    def classes(self, batch: ArrayBatch) -> "Tensor":
        """Return the class labels of a batch."""
        assert self.label is not None
        return batch[self.label]

    def domains(self, batch: ArrayBatch) -> list[str]:
        """Return the domains of a batch."""
        assert self.domain is not None
        return [self.domain_names[place] for place in batch[self.domain].tolist()]


def _read(file: Path) -> dict[str, Any]:
    """Read all arrays of an .npz file."""
    import numpy as np

    if not file.is_file():
        raise LoadError(f"{file}: there is no such file; save one with numpy.savez")
    if not zipfile.is_zipfile(file):
        raise LoadError(f"{file}: is not an .npz file; save one with numpy.savez")
    try:
        with zipfile.ZipFile(file) as archived:
            packed = archived.infolist()
        unpacked = sum(entry.file_size for entry in packed)
        if unpacked > _LARGE and unpacked > _RATIO * file.stat().st_size:
            raise LoadError(
                f"{file}: unpacks to {unpacked / 2**30:.0f} GB; save numbers with numpy.savez"
            )
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except LoadError:
        raise
    except Exception as failure:  # of a broken archive, zipfile and NumPy raise anything
        raise LoadError(
            f"{file}: cannot be read ({failure}); save numbers with numpy.savez"
        ) from None


def _as_places(file: Path, domain: str, read: Mapping[str, Any]) -> tuple[tuple[str, ...], Any]:
    """Return the names of the domains, and for each sample the place of its own among them."""
    import numpy as np

    if domain not in read:
        raise LoadError(
            f"--domains {domain}: {file} holds {', '.join(read)}; name the array with the domain "
            "of each sample"
        )
    names, places = np.unique(np.asarray(read[domain]).astype(str).ravel(), return_inverse=True)
    return tuple(map(str, names)), places


def _as_tensor(file: Path, name: str, array: Any, model: "nn.Module") -> "Tensor":
    """Return an array as a tensor; floating ones in the dtype of the model."""
    import torch

    try:
        tensor = torch.from_numpy(array)
    except TypeError:
        kind = getattr(array, "dtype", type(array).__name__)  # bytes: no array at all
        raise LoadError(
            f"{file}: {name} holds {kind}, which are not numbers; leave it out"
        ) from None
    if not tensor.is_floating_point():
        return tensor
    floating = (p.dtype for p in model.parameters() if p.is_floating_point())
    return tensor.to(next(floating, torch.get_default_dtype()))

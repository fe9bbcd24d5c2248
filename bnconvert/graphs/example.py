"""Example inputs of a model: read from what the user gives, and varied for verification."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from numbers import Number
from typing import Any, Union

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.errors import ExportError
from bnconvert.graphs.drawn_tensors import drawn_like

#: A tensor, and the name of the file's input that it is, where that is known.
NamedTensor = tuple[str | None, Tensor]
#: What a user gives as example inputs; inside the package an `Example` is handed on.
Inputs = Union[tuple[Any, ...], Mapping[str, Any], Tensor, "Example"]


@dataclass(frozen=True, eq=False)
class Example:
    """Example inputs as a call takes them.

    Attributes:
        args: positional inputs.
        kwargs: keyword inputs.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, inputs: Inputs) -> "Example":
        """Read a tuple of positional inputs, a mapping of keyword inputs, or one tensor."""
        if isinstance(inputs, Example):
            return inputs
        if isinstance(inputs, Mapping):
            return cls((), dict(inputs))
        return cls((inputs,) if isinstance(inputs, Tensor) else tuple(inputs), {})

    def shapes(self, of: Callable[[Any], Any], model: nn.Module) -> Any:
        """Return dynamic shapes for the inputs, in the form that torch.export takes.

        Args:
            of: gives what may vary of one input, a leaf of the example.
            model: takes the inputs; it says which parameter a positional one is.
        """
        args, kwargs = pytree.tree_map(of, (self.args, self.kwargs))
        signature = inspect.signature(model.forward)
        gathers = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
        if args and (kwargs or gathers):
            return arguments_of(model, Example(args, kwargs))
        return kwargs or args

    def tensors(self) -> list[Tensor]:
        """Return the tensors in the order of the call, nested ones included."""
        leaves = pytree.tree_leaves((self.args, self.kwargs))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def map(self, function: Callable[[Tensor], Tensor]) -> "Example":
        """Return the example with `function` applied to every tensor."""
        args, kwargs = pytree.tree_map_only(Tensor, function, (self.args, self.kwargs))
        return Example(args, kwargs)

    @property
    def batch(self) -> int | None:
        """The batch size: the first axis of the first tensor that has one."""
        return next((int(t.shape[0]) for t in self.tensors() if t.dim() > 0), None)

    def is_batched(self, tensor: Tensor) -> bool:
        """Tell whether `tensor` has the batch as its first axis."""
        return tensor.dim() > 0 and tensor.shape[0] == self.batch

    def rows(self, chosen: Sequence[int]) -> "Example":
        """Return the chosen samples as a batch.

        Boxes that name their image by its place in the batch, as `torchvision.ops.roi_align` takes
        them, name one of the new batch.
        """
        picks = list(chosen)

        def picked(tensor: Tensor) -> Tensor:
            rows = tensor[picks] if self.is_batched(tensor) else tensor
            if self._names_images(tensor) and picks:
                rows = torch.cat([rows[:, :1] % len(picks), rows[:, 1:]], 1)
            return rows

        return self.map(picked)

    def _names_images(self, tensor: Tensor) -> bool:
        """Tell whether the rows of a tensor are boxes: an image of the batch, and four numbers."""
        if not (tensor.dim() == 2 and tensor.shape[1] == 5 and tensor.is_floating_point()):
            return False
        image = tensor[:, 0]
        images = any(other.dim() > 3 for other in self.tensors())
        batch = self.batch or 0
        return images and bool(((image == image.round()) & (image >= 0) & (image < batch)).all())

    def in_double(self) -> "Example":
        """Return the example with its floating-point tensors in float64, complex ones likewise."""

        def doubled(tensor: Tensor) -> Tensor:
            if tensor.is_complex():
                return tensor.to(torch.complex128)
            return tensor.double() if tensor.is_floating_point() else tensor

        return self.map(doubled)

    def like(self, generator: torch.Generator) -> "Example":
        """Draw an example like this one: normal with its mean and deviation, or of its values."""
        return self.map(partial(drawn_like, generator=generator))

    def perturbed(self, units: float = 1) -> "Example":
        """Return the example with its numbers perturbed by units in the last place, up or down."""

        def moved(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            directions = torch.arange(tensor.numel(), device="cpu") % 2
            signs = (2 * directions - 1).to(tensor).reshape(tensor.shape)
            return tensor * (1 + units * torch.finfo(tensor.dtype).eps * signs)

        return self.map(moved)

    def with_other_rows(self, row: int, generator: torch.Generator) -> "Example":
        """Return the batch with one row kept and the others drawn anew."""
        noise = iter(self.like(generator).tensors())

        def replaced(tensor: Tensor) -> Tensor:
            other = next(noise)
            if not self.is_batched(tensor):
                return tensor
            other[row] = tensor[row]
            return other

        return self.map(replaced)


def require_no_arrays(example: Example) -> None:
    """Require that a file's inputs are tensors, and no arrays, which would be constants in it.

    Raises:
        ExportError: there is an array or an image of NumPy, Pillow and the like.
    """
    leaves = pytree.tree_leaves((example.args, example.kwargs))
    if kinds := [type(leaf) for leaf in leaves if _is_array(leaf)]:
        raise ExportError(
            f"the inputs: {kinds[0].__module__}.{kinds[0].__name__} is no tensor; give tensors, "
            "such as torch.from_numpy makes of arrays"
        )


def _is_array(leaf: object) -> bool:
    """Tell whether a leaf of the inputs gives its memory to NumPy, and is no single number."""
    holds_one = hasattr(type(leaf), "__array_interface__")
    return holds_one and not isinstance(leaf, Tensor | Number) and bool(getattr(leaf, "size", 0))


def arguments_of(model: nn.Module, example: Example) -> dict[str, Any]:
    """Return the inputs by the names of the parameters of `forward`."""
    signature = inspect.signature(model.forward)
    return dict(signature.bind(*example.args, **example.kwargs).arguments)


def named_tensors(model: nn.Module, example: Example) -> list[NamedTensor]:
    """Return the example's tensors with the names that torch's exporter gives the file's inputs.

    That is the parameter of `forward`, with the keys and places of nested inputs: d_left_0. It is
    in lower case, and of inputs that would have the same name, all but the first are numbered.
    """
    names = _Names()
    arguments = [*zip(_positional_names(model), example.args, strict=False)]
    return [
        (names.new("_".join([name, *map(_key, path)]).lower()), leaf)
        for name, value in [*arguments, *example.kwargs.items()]
        for path, leaf in pytree.tree_flatten_with_path(value)[0]
        if isinstance(leaf, Tensor)
    ]


def _positional_names(model: nn.Module) -> Iterator[str]:
    """Yield the names of positional inputs; those that `*args` gathers are numbered."""
    for parameter in inspect.signature(model.forward).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            yield parameter.name
        elif parameter.kind is parameter.VAR_POSITIONAL:
            yield from (f"{parameter.name}_{place}" for place in count())


def _key(step: Any) -> str:
    """Return the key, place or attribute of a step into nested inputs, as a part of a name."""
    if isinstance(step, pytree.MappingKey):
        return re.sub(r"[^a-zA-Z0-9]", "_", str(step.key))
    return str(step.idx if isinstance(step, pytree.SequenceKey) else step.name)


class _Names:
    """Numbers names that were given before, as torch does."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._highest: dict[str, int] = {}

    def new(self, name: str) -> str:
        if name in self._used:
            name = f"{name}_{self._highest.get(name, 0) + 1}"
        if numbered := re.match(r"(.*)_(\d+)", name):
            prefix, number = numbered[1], int(numbered[2])
            self._highest[prefix] = max(number, self._highest.get(prefix, 0))
        self._used.add(name)
        return name

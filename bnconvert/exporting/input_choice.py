"""Which inputs a preprocessing means, and along which axis: decided, or refused by name."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.errors import ExportError
from bnconvert.graphs.example import Example, named_tensors, require_no_arrays
from bnconvert.verification.raw_inputs import RawInput

#: One number, one for each channel, or a tensor that broadcasts.
Numbers = float | Sequence[float] | Tensor
#: (mean, std) of the one input, or of several by their names.
Preprocess = tuple[Numbers, Numbers] | Mapping[str, tuple[Numbers, Numbers]]

#: By the number of axes: where channels may be, in groups of which the first that fits is taken.
_AXES = {2: ((-1,),), 3: ((-2, -1),), 4: ((-3,), (-1,)), 5: ((-4, -3, -1),)}
_MANY_AXES = ((1, -3, -1),)


def raw_inputs(
    model: nn.Module, example: Example, preprocess: Preprocess | None
) -> tuple[RawInput, ...]:
    """Decide which inputs are raw, and how each is normalized.

    Args:
        model: says how its inputs are called, and the dtype that it computes in.
        example: raw inputs.
        preprocess: as for `export`; None where nothing is raw.

    Raises:
        ExportError: inputs are arrays; or `preprocess` may mean several inputs, names one that is
            not there, fits no axis or several, or holds numbers that nothing can be divided by.
    """
    require_no_arrays(example)
    if preprocess is None:
        return ()
    found = list(_places(model, example))
    if isinstance(preprocess, Mapping):
        chosen = [(_named(name, found), numbers) for name, numbers in preprocess.items()]
    else:
        chosen = [(_only(found, preprocess), preprocess)]
    places = [place for place, _ in chosen]
    for place in places:
        if places.count(place) > 1:
            raise ExportError(f"preprocess: names {place.name} twice; name each input once")
    tensors = (*model.parameters(), *model.buffers())
    dtypes = list(dict.fromkeys(t.dtype for t in tensors if t.is_floating_point()))
    return tuple(_raw(place, numbers, dtypes) for place, numbers in chosen)


def describe(inputs: Sequence[RawInput]) -> list[str]:
    """Return one note for each raw input: which it is, and along which axis."""
    return [
        f"the file normalizes {raw.name} itself: (x - mean) / std"
        + (f" of {raw.mean.numel()} channels along axis {raw.axis}" if raw.axis is not None else "")
        for raw in inputs
    ]


@dataclass(frozen=True, eq=False)
class _Place:
    """A tensor among the inputs of a call, and the names that mean it; the first is for people."""

    names: tuple[str, ...]
    argument: int | str
    leaf: int
    tensor: Tensor

    @property
    def name(self) -> str:
        return self.names[0]

    def __str__(self) -> str:
        return f"{self.name} of shape {tuple(self.tensor.shape)}"


def _places(model: nn.Module, example: Example) -> Iterator[_Place]:
    """Yield every tensor of the example."""
    exported = iter(named_tensors(model, example))  # what exporters call them, in the same order
    parameters = list(inspect.signature(model.forward).parameters.values())
    fixed = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "input")
    arguments: list[tuple[int | str, str, Any]] = [
        (i, fixed[i] if i < len(fixed) else f"{rest}_{i - len(fixed)}", value)
        for i, value in enumerate(example.args)
    ]
    arguments += [(name, name, value) for name, value in example.kwargs.items()]
    for argument, name, value in arguments:
        leaves, _ = pytree.tree_flatten_with_path(value)
        alone = sum(isinstance(leaf, Tensor) for _, leaf in leaves) == 1
        for index, (path, leaf) in enumerate(leaves):
            if isinstance(leaf, Tensor):
                keys = [str(_key(entry)) for entry in path]
                other, _ = next(exported)
                names = [".".join([name, *keys]), "_".join([name, *keys]), *keys[-1:]]
                names += [other] if other else []
                names += [name] if alone else []
                yield _Place(tuple(names), argument, index, leaf)


def _key(entry: Any) -> Any:
    """Return the index, key or attribute of one step into nested inputs."""
    return next(getattr(entry, word) for word in ("key", "idx", "name") if hasattr(entry, word))


def _named(name: str, found: Sequence[_Place]) -> _Place:
    """Return the input of that name."""
    # The whole name wins over one that only ends so.
    matches = [p for p in found if p.name == name] or [p for p in found if name in p.names]
    if len(matches) != 1:
        raise ExportError(
            f"preprocess: {name!r} is {'several' if matches else 'none'} of the inputs; name one "
            f"of {', '.join(place.name for place in matches or found)}"
        )
    return matches[0]


def _only(found: Sequence[_Place], numbers: Any) -> _Place:
    """Return the one input that can be meant: the only one, or the only one with three axes."""
    images = [place for place in found if place.tensor.dim() >= 3]
    candidates = images if images else list(found)
    if len(candidates) != 1:
        listed = ", ".join(map(str, candidates)) or "there is none"
        name = candidates[0].name if candidates else "x"
        raise ExportError(
            f"preprocess: may mean several inputs ({listed}); name those that are raw, as "
            f"preprocess={{'{name}': (mean, std)}} or --preprocess {name}=MEAN/STD"
        )
    return candidates[0]


def _raw(place: _Place, numbers: Any, dtypes: Sequence[torch.dtype]) -> RawInput:
    """Decide how one input of a model that has tensors of these dtypes is normalized."""
    x = place.tensor
    floating = [x.dtype] if x.is_floating_point() else [torch.get_default_dtype()]
    dtype = x.dtype if x.dtype in dtypes else [*dtypes, *floating][0]
    try:
        mean, std = (
            torch.as_tensor(part, dtype=torch.float64, device=x.device) for part in numbers
        )
    except (TypeError, ValueError, RuntimeError) as failure:
        raise ExportError(
            f"preprocess: {numbers!r} for {place.name} is not (mean, std); give two numbers, or "
            "two sequences of one number for each channel"
        ) from failure
    if x.is_complex():
        raise ExportError(f"preprocess: {place.name} is complex; normalize it outside the model")
    axis = None
    if mean.dim() <= 1 and std.dim() <= 1 and max(mean.numel(), std.numel()) > 1:
        axis = _channel_axis(place, mean.numel(), std.numel())
        mean, std = (part.flatten().expand(x.shape[axis]).contiguous() for part in (mean, std))
    elif mean.dim() <= 1 and std.dim() <= 1:
        mean, std = mean.reshape(()), std.reshape(())
    raw = RawInput(place.name, place.argument, place.leaf, axis, mean, std, dtype)
    _require_numbers(raw, x)
    return raw


def _channel_axis(place: _Place, means: int, deviations: int) -> int:
    """Return the axis of the channels, counted from the end, or refuse."""
    x, count = place.tensor, max(means, deviations)
    if {means, deviations} - {1, count}:
        raise ExportError(
            f"preprocess: {means} means and {deviations} deviations for {place}; give as many of "
            "both, or one number"
        )
    for group in _AXES.get(x.dim(), _MANY_AXES if x.dim() > 5 else ()):
        fits = {axis % x.dim() for axis in group if x.shape[axis] == count}
        if len(fits) == 1:
            return fits.pop() - x.dim()
        if fits:
            shape = (count, *[1] * (x.dim() - 1 - min(fits)))
            raise ExportError(
                f"preprocess: axes {' and '.join(map(str, sorted(fits)))} of {place} have {count} "
                "entries, and any may be the channels; give mean and std as tensors that "
                f"broadcast, of shape {shape} for axis {min(fits)}, or inputs where only one axis "
                "has that size"
            )
    raise ExportError(
        f"preprocess: {count} channels, and {place} has no axis of channels with {count}; give "
        "one number for each of its channels, one number, or tensors that broadcast"
    )


def _require_numbers(raw: RawInput, x: Tensor) -> None:
    """Refuse what is not finite, what is zero in the precision to compute in, what is too large."""
    for part in (raw.mean, raw.std):
        if raw.axis is None and not _broadcasts(part.shape, x.shape):
            raise ExportError(
                f"preprocess: shape {tuple(part.shape)} does not broadcast to {raw.name} of shape "
                f"{tuple(x.shape)}; give one number, or one for each channel"
            )
    mean, std = raw.mean.to(raw.precision), raw.std.to(raw.precision)
    usable = torch.isfinite(mean).all() and torch.isfinite(std).all()
    if not (usable and torch.isfinite(1 / std).all()):
        raise ExportError(
            f"preprocess=({raw.mean.tolist()}, {raw.std.tolist()}): the deviations must be finite "
            f"and not zero in {raw.precision}; give (mean, std) in the units of the input"
        )


def _broadcasts(shape: Sequence[int], target: Sequence[int]) -> bool:
    """Tell whether a shape broadcasts to another one as it is."""
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(a in (1, b) for a, b in pairs)

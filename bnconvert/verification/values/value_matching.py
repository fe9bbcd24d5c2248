"""Match the values of an ONNX file with those of a captured graph, by their numbers alone.

The graph is computed operator by operator, in float64 and in its own dtype. Wherever a value of
the file is the same within rounding, both continue from the file's own numbers. So every error is
local: it is what one operator adds, and not what the network amplifies. Names are not needed and
prove nothing: a folded file keeps names whose meaning has changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import compress

import torch
from torch import Tensor, fx

from bnconvert.graphs.aten import aten
from bnconvert.graphs.example import Example
from bnconvert.verification.rounding.lowered_precision import Precision
from bnconvert.verification.values.dual_precision import DualPrecisionRun
from bnconvert.verification.values.expected_values import Expected, Wanted

#: Up to this relative error, a value is a wrong version of the expected one.
_ALIKE = 0.1
#: Runs, rounded otherwise, from which it is known how far a part of few numbers may be off.
_FURTHER_RUNS = 6
_MATRIX = 2  # axes
_SAMPLE = 128  # numbers of a value that are compared before all are
_WITH_BIAS = frozenset(
    getattr(aten, name).default
    for name in ("linear", "conv1d", "conv2d", "conv3d", "addmm", "convolution")
    if hasattr(aten, name)
)


class FileValues:
    """The values of a file on one input, searched by their numbers."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        """Sort the values by the shape that they have on rows, and take a sample of each."""
        self.values = values
        self._names: dict[torch.Size, list[str]] = {}
        for name, value in values.items():
            self._names.setdefault(_as_matrix(value.shape), []).append(name)
        self._samples = {
            shape: torch.stack([_sample(values[name]) for name in names])
            for shape, names in self._names.items()
        }

    def holders(self, expected: Wanted) -> dict[str, float]:
        """Return the names of the values equal to the expected one up to rounding; their errors."""
        names, samples = self._alike(expected.exact.shape)
        if not names:
            return {}
        exact = expected.exact.double()
        size = float(exact.square().mean().sqrt()) if exact.numel() else 0.0
        most = expected.allowed["peak"] * (size if 0 < size < float("inf") else 1.0)
        gaps = (samples - _sample(exact)).abs()
        near = (gaps.amax(1) <= most).tolist() if gaps.shape[1] else [True] * len(names)
        alike = ((n, in_shape(self.values[n], exact.shape)) for n in compress(names, near))
        found = ((n, expected.error_of(value)) for n, value in alike)
        return {name: error for name, error in found if error is not None}

    def held(self, wanted: Iterable[Wanted]) -> set[str]:
        """Return the names of the values that equal one of those wanted."""
        return {name for value in wanted for name in self.holders(value)}

    def nearest(self, expected: Expected) -> str | None:
        """Return the name of the value most similar to the expected one, if any is similar."""
        names, samples = self._alike(expected.exact.shape)
        if not names or not expected.exact.is_floating_point():
            return None
        exact = _sample(expected.exact)
        errors = (samples - exact).norm(dim=1) / exact.norm()
        least = int(errors.argmin())
        return names[least] if float(errors[least]) < _ALIKE else None

    def _alike(self, shape: torch.Size) -> tuple[list[str], Tensor]:
        """Return the names of the values of a shape, or of its matrix, and their samples."""
        names = self._names.get(_as_matrix(shape), [])
        places = [i for i, name in enumerate(names) if _is_alike(self.values[name].shape, shape)]
        if not places:
            return [], torch.empty(0, device="cpu")
        return [names[place] for place in places], self._samples[_as_matrix(shape)][places]


@dataclass(eq=False)
class ValueMatches:
    """Which values of a captured graph are among the values of a file.

    Attributes:
        held: by operator of the graph, the names of the file's values that equal its value.
        errors: by value of the file, its relative error.
        missing: values that the file does not hold, while some value computed from them is
            missing too (else they are absorbed downstream).
        without_bias: the missing values before their bias is added, which the file may do later.
        bare: by operator of the graph, those names in `held` that equal its value without a bias.
        near: values that the file does not hold, each with the most similar value of the file.
    """

    held: dict[fx.Node, list[str]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    missing: dict[fx.Node, Expected] = field(default_factory=dict)
    without_bias: dict[fx.Node, Expected] = field(default_factory=dict)
    bare: dict[fx.Node, frozenset[str]] = field(default_factory=dict)
    near: list[tuple[Expected, str]] = field(default_factory=list)

    def first_missing(self) -> list[Expected]:
        """Return the missing values whose inputs are not missing."""
        first = [
            node
            for node in self.missing
            if not any(earlier in self.missing for earlier in node.all_input_nodes)
        ]
        parts = self.missing, self.without_bias
        return [part[node] for node in first for part in parts if node in part]

    def note_holders(self, expected: Expected, holders: Mapping[str, float]) -> None:
        """Note which values of the file equal an expected value, and their errors."""
        self.held.setdefault(expected.node, []).extend(holders)
        for name, error in holders.items():
            self.errors[name] = min(error, self.errors.get(name, error))


def match_values(
    module: fx.GraphModule,
    example: Example,
    values: FileValues,
    *,
    in_parts: bool = False,
    precision: Precision | None = None,
) -> ValueMatches:
    """Run a captured graph and find its values among those of a file.

    Args:
        module: the graph, in its own dtype.
        example: what the file was run on.
        values: the file's values.
        in_parts: whether each part of a value counts by its own size.
        precision: what the file computes in, where that is lower than the graph's own dtype.
    """
    found = ValueMatches()
    further = _FURTHER_RUNS if in_parts else 0
    run = DualPrecisionRun(module, example, further, precision)
    with torch.no_grad():
        for node, exact, _ in run.steps():
            expected = Expected.of(node, exact, run.own_values(node))
            if holders := values.holders(expected):
                found.note_holders(expected, holders)
                best = min(holders, key=holders.__getitem__)
                run.replace(node, in_shape(values.values[best], exact.shape))
                for read in node.all_input_nodes:
                    if list(read.users) == [node]:
                        found.missing.pop(read, None)  # absorbed: its memory is not needed
                continue
            found.missing[node] = expected
            _ = [*expected.runs]  # while they can be computed
            if (name := values.nearest(expected)) is not None:
                found.near.append((expected, name))
            if bare := _without_bias(run, expected):
                found.without_bias[node] = bare
                holders = values.holders(bare)
                found.bare[node] = frozenset(holders)
                found.note_holders(bare, holders)
    _drop_absorbed(found, run)
    return found


def _drop_absorbed(found: ValueMatches, run: DualPrecisionRun) -> None:
    """Remove the missing values from which only values were computed that the file holds."""
    right: set[fx.Node] = set()
    for node in reversed(run.varying):
        consumers = [user for user in node.users if user in run.varying or user.op == "output"]
        # Integers hide errors: they prove something only where nothing else is computed.
        consumers = [user for user in consumers if run.varying.get(user, True)] or consumers
        is_held = node in found.held and node not in found.missing
        if is_held or (consumers and all(user in right for user in consumers)):
            right.add(node)
            found.missing.pop(node, None)


def _without_bias(run: DualPrecisionRun, expected: Expected) -> Expected | None:
    """Return a convolution's or linear layer's value before its bias is added, if it has one."""
    node = expected.node
    place = 0 if node.target is aten.addmm.default else 2
    bias = node.args[place] if node.target in _WITH_BIAS and len(node.args) > place else None
    if not isinstance(bias, fx.Node):
        return None
    added = [*run.values[bias], *run.others(bias)]
    if "conv" in str(node.target):  # its channels come before the axes of the kernel
        weight = run.values[node.args[1]][1]  # type: ignore[index]  # it is a node
        added = [b.reshape(-1, *[1] * (weight.dim() - 2)) for b in added]
    own = [value - b for value, b in zip(run.own_values(node), added[1:], strict=True)]
    return Expected.of(node, expected.exact - added[0], own)


def in_shape(value: Tensor, shape: torch.Size) -> Tensor:
    """Return what one file computes on the rows of a matrix as another one does, over tokens.

    Args:
        value: of the file.
        shape: of the other's value; where that cannot be the same one, nothing is changed.
    """
    return value.reshape(shape) if _is_alike(value.shape, shape) else value


def _is_alike(shape: torch.Size, other: torch.Size) -> bool:
    """Tell whether two shapes are the same, or one is the matrix of the other."""
    return shape == other or (
        _MATRIX in (len(shape), len(other)) and _as_matrix(shape) == _as_matrix(other)
    )


def _as_matrix(shape: torch.Size) -> torch.Size:
    """Return the shape that a value of several axes has on rows: one for each of its tokens."""
    return torch.Size((shape[:-1].numel(), shape[-1])) if len(shape) > _MATRIX else shape


def _sample(tensor: Tensor) -> Tensor:
    """Return some numbers of a tensor, always at the same places for the same shape."""
    flat = tensor.detach().reshape(-1)
    if flat.numel() > _SAMPLE:
        generator = torch.Generator().manual_seed(0)
        flat = flat[torch.randint(flat.numel(), (_SAMPLE,), generator=generator, device="cpu")]
    return flat.double().nan_to_num()

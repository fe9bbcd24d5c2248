"""Influence: which weights of a model move which of its values, by one backward pass.

A weight that moves nothing that is compared is not covered by the comparison: a detector without
boxes, an argmax, a ReLU that is zero everywhere hide it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnconvert.graphs.example import Example
from bnconvert.modules.kinds import norms_in
from bnconvert.modules.paths import holders
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.verification.complex_numbers import in_real_numbers
from bnconvert.verification.weights.weight_gradients import moving_weights

#: A module's output: its path, how many outputs came before it, the place among its tensors.
Place = tuple[str, int, int]


def weight_names(model: nn.Module) -> list[str]:
    """Return the weights that a model has: its norms by path, all other parameters by name."""
    return [*_weights(model)]


def _weights(model: nn.Module) -> dict[str, Tensor | None]:
    """Return the weights by name; a norm is one of them, with None for a tensor."""
    norms: dict[str, Tensor | None] = {path: None for path, _, _ in norms_in(model)}
    others = (
        (name, parameter)
        for name, parameter in model.named_parameters()
        if norms.keys().isdisjoint(holders(name))
    )
    rest = {name: p for name, p in others if p.is_floating_point() and p.numel()}
    return norms | rest


def weights_of(model: nn.Module, names: Iterable[str]) -> list[Tensor]:
    """Return the floating-point tensors of some weights: a norm's are all that it holds."""
    return [tensor for held in weights_by_name(model, names).values() for tensor in held]


def weights_by_name(model: nn.Module, names: Iterable[str]) -> dict[str, list[Tensor]]:
    """Return the same for each weight."""
    weights, found = _weights(model), dict[str, list[Tensor]]()
    for name in names:
        parameter = weights[name]
        norm = model.get_submodule(name) if parameter is None else None
        held = (parameter,) if norm is None else (*norm.parameters(), *norm.buffers())
        found[name] = [t for t in held if t is not None and t.is_floating_point()]
    return found


@dataclass(eq=False)
class GradientRun:
    """One forward with gradients, in which every value is projected to a number.

    Attributes:
        model: a copy of the user's, in eval mode; its parameters are marked for gradients.
        outputs: the floating-point outputs' projections, by place among all output tensors.
        inner: the projections of what each module returned, where that is asked for.
        values: what each module returned, likewise.
    """

    model: nn.Module
    outputs: dict[int, Tensor] = field(default_factory=dict)
    inner: dict[Place, Tensor] = field(default_factory=dict)
    values: dict[Place, Tensor] = field(default_factory=dict)
    _norms: dict[str, list[Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, example: Example, *, inner: bool = False) -> "GradientRun":
        """Run a model; errors of its forward pass through."""
        return cls(model)._run(example, inner=inner, projected=True)

    @classmethod
    def values_of(cls, model: nn.Module, example: Example) -> dict[Place, Tensor]:
        """Return what each module of a model returned in the same run, without projections."""
        return cls(model)._run(example, inner=True, projected=False).values

    def _run(self, example: Example, *, inner: bool, projected: bool) -> "GradientRun":
        """Run the model, with gradients in any case: without, modules may take other ways."""
        watching = self._watching(inner, projected)
        with _differentiable(self.model), torch.enable_grad(), preserved_random_state(), watching:
            copied = example.map(Tensor.clone)
            leaves = pytree.tree_leaves(self.model(*copied.args, **copied.kwargs))
            tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor) and projected]
            self.outputs = {i: _projected(t, i) for i, t in enumerate(tensors) if t.requires_grad}
        return self

    def moving(self, projections: Sequence[Tensor]) -> set[str]:
        """Return the names of the weights that move at least one of the projections."""
        with _differentiable(self.model):
            wanted = [(name, t) for name, t in self._sources() if t.requires_grad]
            if not projections or not wanted:
                return set()
            total = torch.stack([one.double().cpu() for one in projections]).sum()
            return moving_weights(total, wanted)

    def _sources(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors to differentiate by; for a norm that is called, what it returned."""
        for name, parameter in _weights(self.model).items():
            if parameter is not None:
                yield name, parameter
            else:
                norm = self.model.get_submodule(name)
                for tensor in self._norms.get(name) or norm.parameters():
                    yield name, tensor

    @contextmanager
    def _watching(self, inner: bool, projected: bool) -> Iterator[None]:
        """Hook every norm, and every module where its values are asked for."""
        norms = {path for path, _, _ in norms_in(self.model)}
        hooks: list[Any] = []
        for path, module in self.model.named_modules():
            if inner or path in norms:
                hook = _Watch(self, path, inner, path in norms, projected)
                hooks.append(module.register_forward_hook(hook))
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()


@dataclass(eq=False)
class _Watch:
    """A forward hook that notes what a module returns."""

    run: GradientRun
    path: str
    inner: bool
    norm: bool
    projected: bool
    calls: int = 0

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Note the output; a norm's is copied, because an activation may overwrite it."""
        leaves, tree = pytree.tree_flatten(output)
        if self.norm:
            leaves = [self._source(leaf) for leaf in leaves]
        for index, leaf in enumerate(leaves):
            if self.inner and isinstance(leaf, Tensor) and leaf.is_floating_point():
                place = (self.path, self.calls, index)
                self.run.values[place] = leaf.detach().clone()
                if leaf.requires_grad and self.projected:
                    self.run.inner[place] = _projected(leaf, len(self.run.inner))
        self.calls += 1
        return pytree.tree_unflatten(leaves, tree) if self.norm else None

    def _source(self, leaf: Any) -> Any:
        """Keep a tensor to differentiate by; return what takes its place in the forward."""
        if not (isinstance(leaf, Tensor) and leaf.is_floating_point()):
            return leaf
        if not leaf.requires_grad:
            leaf = leaf.detach().clone().requires_grad_(torch.is_grad_enabled())
        self.run._norms.setdefault(self.path, []).append(leaf)
        return leaf.clone()


@contextmanager
def _differentiable(model: nn.Module) -> Iterator[None]:
    """Let a model's parameters require gradients, the frozen ones too, and restore their flags."""
    floating = [p for p in model.parameters() if p.is_floating_point()]
    before = [(p, p.requires_grad) for p in floating]
    try:
        for parameter in floating:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, flag in before:
            parameter.requires_grad_(flag)


def _projected(value: Tensor, seed: int) -> Tensor:
    """Return a number that changes wherever the value does; entries that are not finite are out."""
    value = in_real_numbers(value)
    if not value.numel():
        return value.sum()
    generator = torch.Generator().manual_seed(seed)
    # Any numbers without a pattern will do; these are the quickest to draw.
    weights = torch.rand(value.shape, generator=generator, dtype=torch.float32, device="cpu")
    weights = weights.to(value)
    total = (value * weights).sum()
    if torch.isfinite(total):
        return total
    finite = torch.where(torch.isfinite(value), value, torch.zeros_like(value))
    return (finite * weights).sum()

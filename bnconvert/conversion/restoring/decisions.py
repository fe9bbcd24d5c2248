"""Decides which layers of a model get a norm back; looks only."""

from collections import Counter
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import chain

from torch import fx, nn
from torch.nn.utils import parametrize

from bnconvert.conversion.restoring.layer_uses import (
    calls_of,
    identity_after,
    is_output,
    normalizing,
)
from bnconvert.conversion.restoring.restore_plan import (
    LayerRules,
    RestoreDecision,
    RestorePlan,
    child_path,
)
from bnconvert.errors import PolicyError, Refusal, RefusedError
from bnconvert.modules.folded_norm import FoldedNorm, remembered_norm
from bnconvert.modules.normalized_layer import (
    CHILD,
    LAYERS,
    NormalizedLayer,
    channels_after,
    only_adds_bias,
)
from bnconvert.modules.survey import traced
from bnconvert.modules.tracing.hidden_references import HiddenReference, hidden_references
from bnconvert.modules.tracing.trace import Trace


def make_restore_plan(model: nn.Module, layers: LayerRules) -> RestorePlan:
    """Decide for every convolution and linear layer of `model`; looks only.

    Raises:
        PolicyError: a rule matches no layer.
        RefusedError: a rule that asks for norms gets none.
        UnsupportedModelError: the model cannot be copied, which tracing does.
    """
    found: dict[int, list[str]] = {}
    held: dict[int, nn.Module] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, LAYERS):
            found.setdefault(id(module), []).append(path)
            held[id(module)] = module
    trace = traced(model, _is_layer)
    hidden = hidden_references(model, list(held.values()))
    decide = _Decider(model, trace, layers, hidden)
    decisions = tuple(decide.of(held[key], tuple(paths)) for key, paths in found.items())
    _require_useful(layers, decisions)
    return RestorePlan(model, decisions)


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, LAYERS) and not isinstance(module, NormalizedLayer)


def _require_useful(layers: LayerRules, decisions: tuple[RestoreDecision, ...]) -> None:
    """Raise where a rule matches no layer, or asks for norms and gets none."""
    for pattern, wanted in layers.items():
        matched = [d for d in decisions if any(fnmatchcase(path, pattern) for path in d.paths)]
        if not matched and pattern != "*":
            example = decisions[0].path if decisions else ""
            remedy = f"write paths like {example!r}" if example else "leave the rule out"
            raise PolicyError(
                f"rule {pattern!r}: matches none of {len(decisions)} layers; {remedy}"
            )
        own = [decision for decision in matched if decision.rule == pattern]
        if wanted and own and not any(decision.place for decision in own):
            raise RefusedError([f"{d.path or '(root)'}: {d.refusal}" for d in own])


class _Decider:
    """Decides for the layers of one model."""

    def __init__(
        self,
        model: nn.Module,
        trace: Trace,
        layers: LayerRules,
        hidden: Mapping[int, HiddenReference],
    ) -> None:
        self.model, self.trace, self.layers, self.hidden = model, trace, layers, hidden
        held = (m._parameters.values() for m in model.modules())
        self.holders = Counter(id(parameter) for parameter in chain.from_iterable(held))

    def of(self, layer: nn.Module, paths: tuple[str, ...]) -> RestoreDecision:
        """Decide for the layer at the given paths."""
        rule = next((p for p in self.layers if any(fnmatchcase(path, p) for path in paths)), None)
        ours = isinstance(layer, NormalizedLayer)
        called = tuple(child_path(path) for path in paths) if ours else paths
        calls = list(calls_of(called, self.trace.graph))
        is_closed = any(map(self.trace.is_closed, paths))
        identity = identity_after(calls[0], self.model) if calls and not ours else None
        former = self._former(layer, identity)
        refusals: list[Refusal | None] = [self._why_not(layer, calls, is_closed)]
        if rule is None and former is None:
            refusals += self._why_not_by_default(layer, calls, is_closed, paths[0])
        elif rule is not None and not self.layers[rule]:
            refusals.append(Refusal("left-out", f"is left out by the rule {rule!r}"))
        refusal = next((reason for reason in refusals if reason is not None), None)
        place = None if refusal is not None else identity or child_path(paths[0])
        count = None if is_closed else len(calls)
        return RestoreDecision(paths[0], paths[1:], layer, count, place, refusal, rule, former)

    def _former(self, layer: nn.Module, identity: str | None) -> FoldedNorm | None:
        """Return the norm that was folded into a layer, where what stands for it remembers it.

        A layer that shares its weight with another one, or adds its bias in a way of its own,
        cannot be brought back to its old scale.
        """
        if identity is None or self.holders[id(layer.weight)] > 1 or not only_adds_bias(layer):
            return None
        former = remembered_norm(self.model.get_submodule(identity))
        fits = former is not None and former.scale.numel() == channels_after(layer)
        return former if fits else None

    def _why_not(self, layer: nn.Module, calls: list[fx.Node], is_closed: bool) -> Refusal | None:
        """Return why no norm can follow a layer, whatever is asked for."""
        if holder := self.hidden.get(id(layer)):
            return holder.refusal
        if refusal := _why_not_of_module(layer):
            return refusal
        if is_closed:
            return None
        if not calls:
            return Refusal(
                "not-called", "is not called as a module, so that no norm can follow its call"
            )
        if len(calls) > 1:
            return Refusal(
                "called-several-times",
                f"is called {len(calls)} times in one forward, whose outputs need not have the "
                "same statistics",
            )
        if norm := normalizing(calls[0], self.model):
            return Refusal("has-norm", f"is followed by the norm {norm}")
        return None

    def _why_not_by_default(
        self, layer: nn.Module, calls: list[fx.Node], is_closed: bool, path: str
    ) -> Iterator[Refusal]:
        """Yield why a layer that no rule names is left as it is."""
        remedy = f"give layers={{{path!r}: True}} to put a norm there"
        if isinstance(layer, nn.Linear):
            yield Refusal("linear", "is a linear layer", remedy)
        elif layer.bias is None:
            yield Refusal("no-bias", "has no bias, so that no norm was folded into it", remedy)
        elif is_closed:
            closed = self.trace.closed
            inside = [p for p in closed if not p or f"{path}.".startswith(f"{p}.")]
            why = closed[inside[0]]
            yield Refusal("not-traced", f"lies in a forward that cannot be traced ({why})", remedy)
        elif any(is_output(call, self.model) for call in calls):
            yield Refusal(
                "output-layer",
                "is an output layer: no further layer and no rectifier follows",
                remedy,
            )


def _why_not_of_module(layer: nn.Module) -> Refusal | None:
    """Return why a layer's module cannot be replaced by one of a subclass, or None."""
    child = layer._modules.get(CHILD)
    if isinstance(layer, NormalizedLayer):
        if child is not None and type(child) is not nn.Identity:
            return Refusal("has-norm", f"has a norm already, its child {CHILD}")
        return None
    if "forward" in vars(layer):
        return Refusal(
            "forward-replaced",
            "its forward is replaced on the object, where no norm can follow it",
            "make it the forward of the layer's class",
        )
    if parametrize.is_parametrized(layer):
        return Refusal(
            "parametrized",
            "is parametrized, and its class is made by torch",
            "call torch.nn.utils.parametrize.remove_parametrizations first",
        )
    if hasattr(layer, CHILD):
        return Refusal("name-taken", f"has an attribute {CHILD!r} already", "rename it")
    return None

"""A network that is drawn: which layers there are, and what each of them reads."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from tests.random_networks.layers import LAYERS, Call, Maker
from tests.random_networks.loops import Loop
from tests.random_networks.operators import CASTS, ONE, TWO
from tests.random_networks.statistics import norm
from tests.random_networks.traits import Traits

#: Spatial sizes of the first input, by their number.
SIZES = {0: (), 1: (12,), 2: (8, 8), 3: (6, 6, 6)}
_WIDEST = 24
#: No value has more numbers.
_LARGEST = 40_000
#: How many values back a step may reach.
_REACH = 3
#: How often a step reads the value that was computed last, whichever else it might.
_LAST = 0.5
#: How often a step is a loop, in a network that has some.
_LOOPS = 0.3


@dataclass(frozen=True)
class Step:
    """A call of a layer, by its number, or of a function, on values that were there before."""

    call: Call | int
    sources: tuple[int, ...]


class Autocast(nn.Module):
    """A layer that runs under autocast, as many heads do."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.dtype = layer, dtype

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", self.dtype):
            result: Tensor = self.layer(x)
        return result.to(x.dtype)


class DrawnNetwork(nn.Module):
    """What is drawn, in eval mode and in float64; subclasses say what `forward` takes."""

    def __init__(self, seed: int, traits: Traits | None = None) -> None:
        super().__init__()
        self.traits = traits or Traits()
        self.layers = nn.ModuleList()
        self.steps: list[Step] = []
        draw = Random(seed)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            shape = (3, 4, *SIZES[self.traits.rank])
            count = 1 if self.traits.inputs in ("one", "number") else 2
            values = [torch.randn(shape) for _ in range(count)]
            self._draw_steps(values, draw)
        read = {i for step in self.steps for i in step.sources}
        self._results = [i for i in range(count, len(values)) if i not in read]
        if self.traits.stateful:
            self.register_buffer("calls", torch.zeros(()))
        self.double().eval()
        norms = [m for m in self.layers if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if self.traits.training_part and norms:
            draw.choice(norms).train()

    def _draw_steps(self, values: list[Tensor], draw: Random) -> None:
        first = len(values)
        for _ in range(draw.randint(6, 16)):
            call, sources = self._drawn(values, draw)
            layer = self.layers[call] if isinstance(call, int) else call
            before = [value.clone() for value in values]
            try:
                made = layer(*(values[i] for i in sources))
            except (RuntimeError, ValueError, IndexError, NotImplementedError):
                made = None  # the shapes do not fit
            changed = any(not torch.equal(a, b) for a, b in zip(before, values[:first]))  # noqa: B905
            if made is None or changed or not 0 < made.numel() <= _LARGEST or made.dim() < 2:
                values[:] = before
                if call == len(self.layers) - 1 and all(s.call != call for s in self.steps):
                    del self.layers[-1]
                continue
            values.append(made)
            self.steps.append(Step(call, sources))

    def _drawn(self, values: Sequence[Tensor], draw: Random) -> tuple[Call | int, tuple[int, ...]]:
        """Draw a step, or one that was drawn before with another value to read."""
        recent = range(max(0, len(values) - _REACH), len(values))
        last = draw.random() < _LAST
        source, other = recent[-1] if last else draw.choice(recent), draw.randrange(len(values))
        channels, rank = values[source].shape[1], values[source].dim() - 2
        kind = draw.random()
        if channels > _WIDEST:
            return lambda x: x[:, :4], (source,)
        if kind < 0.22:
            return draw.choice(TWO), (source, other)
        if kind < 0.32 and len(self.layers):
            return draw.randrange(len(self.layers)), (source,)
        if kind < 0.38 and len(self.layers):
            return self._added(_tied(draw.choice(list(self.layers)), draw), draw), (source,)
        if self.traits.loops and draw.random() < _LOOPS:
            return self._added(Loop(rank, channels, draw), draw), (source,)
        norms: dict[Maker, int] = {self._norm: 1}
        functions = {**ONE, **CASTS} if self.traits.casts else ONE
        makers = draw.choice((norms, LAYERS, functions))
        (make,) = draw.choices(list(makers), weights=list(makers.values()))
        try:
            made = make(rank, channels, draw)
        except (AttributeError, ValueError, RuntimeError, KeyError):  # there is none of that rank
            made = nn.ReLU()
        return self._added(made, draw) if isinstance(made, nn.Module) else made, (source,)

    def _norm(self, rank: int, channels: int, draw: Random) -> nn.Module:
        return norm(rank, channels, draw, extreme=self.traits.extreme)

    def _added(self, layer: nn.Module, draw: Random) -> int:
        """Add a layer, perhaps with a hook or under autocast; return its number."""
        if self.traits.hooks and draw.random() < 0.3:
            draw.choice(_HOOKS)(layer)
        if self.traits.autocast and draw.random() < 0.3:
            layer = Autocast(layer, draw.choice((torch.bfloat16, torch.float16)))
        self.layers.append(layer.eval())
        return len(self.layers) - 1

    def computed(self, *inputs: Tensor) -> list[Tensor]:
        """Return what is computed from the inputs and read by no step."""
        if self.traits.stateful:
            self.get_buffer("calls").add_(1)
        values = list(inputs)
        for step in self.steps:
            call = self.layers[step.call] if isinstance(step.call, int) else step.call
            values.append(call(*(values[i] for i in step.sources)))
        return [values[i] for i in self._results]

    def packed(self, results: list[Tensor]) -> Any:
        """Return results as the traits say."""
        match self.traits.outputs:
            case "dict":
                return {f"out_{i}": result for i, result in enumerate(results)}
            case "nested":
                return {"all": [results[0], tuple(results[1:])], "nothing": None, "number": 3}
            case "tensor" if len(results) == 1:
                return results[0]
        return tuple(results)


def _tied(layer: nn.Module, draw: Random) -> nn.Module:
    """Return another layer with the parameters of this one, or only its weight."""
    other = copy.deepcopy(layer)
    names = ["weight"] if draw.random() < 0.5 else [name for name, _ in layer.named_parameters()]
    for name, parameter in layer.named_parameters(recurse=False):
        if name in names:
            setattr(other, name, parameter)
    return other


def _double_output(layer: nn.Module) -> None:
    layer.register_forward_hook(lambda module, args, output: 2 * output)


def _shift_input(layer: nn.Module) -> None:
    layer.register_forward_pre_hook(lambda module, args: (args[0] + 1,))


def _only_look(layer: nn.Module) -> None:
    layer.register_forward_hook(lambda module, args, output: None)


_HOOKS = (_double_output, _shift_input, _only_look)

"""Random networks with other inputs than one tensor, and inputs for each of them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnconvert.graphs.example import Example
from tests.random_networks.network import SIZES, DrawnNetwork
from tests.random_networks.traits import Traits
from tests.zoo import laid_out


class RandomNetwork(DrawnNetwork):
    """One input; without further traits an image, and a tuple of all that it does not read."""

    def forward(self, x: Tensor) -> Any:
        return self.packed(self.computed(x))


class TwoInputs(DrawnNetwork):
    """Two positional inputs."""

    def forward(self, x: Tensor, other: Tensor) -> Any:
        return self.packed(self.computed(x, other))


class KeywordInput(DrawnNetwork):
    """A second input by its name alone."""

    def forward(self, x: Tensor, *, other: Tensor) -> Any:
        return self.packed(self.computed(x, other))


class OptionalInput(DrawnNetwork):
    """A second input between two that are not given."""

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        other: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Any:
        assert other is not None
        results = self.computed(x if mask is None else x * mask, other)
        return self.packed([r if scale is None else r * scale for r in results])


class DictInput(DrawnNetwork):
    """A dictionary of inputs."""

    def forward(self, batch: dict[str, Any]) -> Any:
        return self.packed(self.computed(batch["x"], batch["others"][0]))


class NumberInput(DrawnNetwork):
    """Numbers beside a tensor."""

    def forward(self, x: Tensor, factor: float = 1.0, flag: bool = False) -> Any:
        return self.packed(self.computed(x * factor if flag else x))


_CLASSES: dict[str, type[DrawnNetwork]] = {
    "one": RandomNetwork,
    "two": TwoInputs,
    "keyword": KeywordInput,
    "optional": OptionalInput,
    "dict": DictInput,
    "number": NumberInput,
}


@dataclass(frozen=True)
class Drawn:
    """A seed, and the kind of network that is drawn from it."""

    seed: int
    traits: Traits

    @classmethod
    def of(cls, seed: int) -> "Drawn":
        """Draw a kind."""
        return cls(seed, Traits.drawn(seed))

    def model(self, dtype: torch.dtype = torch.float64) -> DrawnNetwork:
        """Build the network, always the same."""
        model = _CLASSES[self.traits.inputs](self.seed, self.traits).to(dtype)
        if self.traits.channels_last:
            laid_out(model, torch.channels_last)
        return model.train() if self.traits.training else model

    def truth(self, dtype: torch.dtype = torch.float64) -> DrawnNetwork:
        """Build it for a comparison: in eval mode, but for a part that is in training mode."""
        model = self.model(dtype)
        return model.eval() if self.traits.training else model

    def example(
        self, rows: int = 3, grown: int = 0, seed: int = 0, dtype: torch.dtype = torch.float64
    ) -> Example:
        """Draw inputs, so many rows of a size that is larger by so much."""
        generator = torch.Generator().manual_seed(seed)
        shape = (rows, 4, *(size + grown for size in SIZES[self.traits.rank]))

        def drawn() -> Tensor:
            made = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
            if self.traits.channels_last:
                made = made.contiguous(memory_format=torch.channels_last)
            return made

        match self.traits.inputs:
            case "two":
                return Example((drawn(), drawn()), {})
            case "keyword":
                return Example((drawn(),), {"other": drawn()})
            case "optional":
                return Example((drawn(), None, drawn()), {})
            case "dict":
                return Example(({"x": drawn(), "others": [drawn()]},), {})
            case "number":
                return Example((drawn(), 2.0, True), {})
        return Example((drawn(),), {})

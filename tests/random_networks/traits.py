"""What kind of network is drawn: its axes, its numbers, its inputs and its outputs."""

from dataclasses import dataclass, fields
from random import Random
from typing import Literal

Inputs = Literal["one", "two", "keyword", "optional", "dict", "number"]
Outputs = Literal["tuple", "dict", "nested", "tensor"]


@dataclass(frozen=True)
class Traits:
    """The kind of a network; by default one that takes and returns tensors, with usual numbers.

    Attributes:
        rank: how many spatial axes its input has.
        extreme: the norms' statistics and affine are at the ends of what there is.
        casts: values are rounded to other dtypes and back.
        autocast: some layers run under autocast.
        channels_last: the memory format of weights and inputs.
        stateful: it counts its calls in a buffer, in eval mode too.
        training: all of it is in training mode.
        training_part: one norm is in training mode in the eval model.
        hooks: some layers have hooks that change what they compute.
        loops: some values are multiplied with themselves and with constants over and over.
        inputs: what `forward` takes.
        outputs: what it returns.
    """

    rank: int = 2
    extreme: bool = False
    casts: bool = False
    autocast: bool = False
    channels_last: bool = False
    stateful: bool = False
    training: bool = False
    training_part: bool = False
    hooks: bool = False
    loops: bool = False
    inputs: Inputs = "one"
    outputs: Outputs = "tuple"

    @classmethod
    def drawn(cls, seed: int) -> "Traits":
        """Draw a kind."""
        draw = Random(f"traits {seed}")
        rank = draw.choice((0, 1, 1, 2, 2, 2, 2, 3))

        def happens(share: float) -> bool:
            return draw.random() < share

        training = happens(0.15)
        return cls(
            rank=rank,
            training=training,
            extreme=happens(0.2),
            casts=happens(0.15),
            autocast=happens(0.06),
            channels_last=happens(0.15) and rank == 2,
            stateful=happens(0.04),
            training_part=happens(0.04) and not training,
            hooks=happens(0.08),
            inputs=draw.choice(("one", "one", "two", "keyword", "optional", "dict", "number")),
            outputs=draw.choice(("tuple", "tuple", "dict", "nested", "tensor")),
            loops=happens(0.12),  # drawn last: other kinds stay what they were
        )

    def __str__(self) -> str:
        """Return what differs from the default, in a few words."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        flags = [name for name, value in values.items() if value is True]
        return " ".join((f"{self.rank}d", f"{self.inputs}->{self.outputs}", *flags))

"""What equalization did with a layer and its consumers: ranges before and after, or why not."""

from dataclasses import dataclass

from torch import Tensor

from bnconvert.errors import Refusal


@dataclass(frozen=True)
class ChannelRanges:
    """How large the numbers of a weight are, channel by channel.

    Attributes:
        smallest: the smallest range of a channel that is used; the range is its largest |w|.
        largest: the largest, which sets the one scale of a weight that is quantized per tensor.
    """

    smallest: float
    largest: float

    @classmethod
    def of(cls, ranges: Tensor) -> "ChannelRanges":
        """Summarize the ranges of all channels, shape (channels,)."""
        used = ranges[ranges > 0]
        if not used.numel():
            return cls(0.0, 0.0)
        return cls(float(used.min()), float(used.max()))

    @property
    def spread(self) -> float:
        """The largest range over the smallest: 1 where all channels are alike."""
        return self.largest / self.smallest if self.smallest else 1.0


@dataclass(frozen=True)
class EqualizedPair:
    """A layer and the layers that read it.

    Attributes:
        producer: the layer, by its module and operator.
        consumers: what reads its output; where it is refused, none.
        channels: how many channels the layer has.
        producer_before: the ranges of its output channels.
        producer_after: the same, equalized.
        consumers_before: the ranges of these channels in the weights of the consumers.
        consumers_after: the same, equalized.
        refusal: why it stays as it is, or None.
    """

    producer: str
    consumers: tuple[str, ...]
    channels: int
    producer_before: ChannelRanges | None = None
    producer_after: ChannelRanges | None = None
    consumers_before: ChannelRanges | None = None
    consumers_after: ChannelRanges | None = None
    refusal: Refusal | None = None

    @property
    def is_equalized(self) -> bool:
        """Whether the layers have other weights now."""
        return self.refusal is None

    def __str__(self) -> str:
        """Return the spread of both weights before and after, or the reason."""
        before, after = self.producer_before, self.producer_after
        read, now_read = self.consumers_before, self.consumers_after
        if before is None or after is None or read is None or now_read is None:
            return f"as it was: {self.refusal}"
        return (
            f"channel ranges spread {before.spread:.3g} -> {after.spread:.3g}, "
            f"in its consumers {read.spread:.3g} -> {now_read.spread:.3g}"
        )

"""Batches of real data, with what the model's inputs and the labels in each are."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnconvert.cli.user_code import describe_with_line
from bnconvert.errors import BnconvertError, LoadError

if TYPE_CHECKING:
    from torch import Tensor, nn


def _whole(batch: Any) -> Any:
    return batch


@dataclass(frozen=True)
class Data:
    """Batches of data, with the model's inputs and the class labels in each.

    Attributes:
        source: the value of the option.
        batches: the batches; they can be read once.
        inputs: inputs(batch) returns the model's inputs: a tensor, or a tuple or mapping of them.
        labels: labels(batch) returns the class labels; None where there are none.
        domains: domains(batch) returns the domain of the batch, or of each sample; None where
            nobody asked for it.
        option: which one names the data.
    """

    source: str
    batches: Iterable[Any]
    inputs: Callable[[Any], Any] = _whole
    labels: "Callable[[Any], Tensor] | None" = None
    domains: Callable[[Any], Any] | None = None
    option: str = "--data"

    def first(self, samples: int | None) -> Iterator[Any]:
        """Yield batches until so many samples were read, or all of them."""
        from bnconvert.statistics.batches import BatchReader

        return (batch.value for batch in BatchReader(self.batches, samples))

    def run(self, model: "nn.Module", batch: Any) -> Any:
        """Return the model's output for a batch.

        Raises:
            LoadError: the model cannot take it.
        """
        from torch import device as device_of

        from bnconvert.statistics.batch_inputs import default_forward
        from bnconvert.statistics.batches import tensors_of

        inputs = self.inputs(batch)
        device = next((tensor.device for tensor in model.buffers()), device_of("cpu"))
        try:
            return default_forward(device)(model, inputs)
        except BnconvertError:
            raise
        except (Exception, SystemExit) as failure:
            shapes = " and ".join(str(tuple(t.shape)) for t in tensors_of(inputs))
            raise LoadError(
                f"{self.option} {self.source}: on a batch of {shapes} the model "
                f"{describe_with_line(failure)}; give what its forward takes"
            ) from failure

    def calibration(self, model: "nn.Module") -> Iterator[Any]:
        """Yield the inputs of each batch, after running a replica on the first one.

        Raises:
            LoadError: the model cannot take it.
        """
        from bnconvert.modules.copies.copying import replicate
        from bnconvert.statistics.observing import observing

        for index, batch in enumerate(self.batches):
            if index == 0:
                with observing():
                    self.run(replicate(model), batch)
            yield self.inputs(batch)

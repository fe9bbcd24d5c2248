"""--loss and --metric: the user's functions, or the defaults for data with class labels."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from bnconvert.cli.device import beside
from bnconvert.cli.user_code import describe_with_line, load_object
from bnconvert.errors import LoadError

if TYPE_CHECKING:
    from bnconvert.statistics.batches import ScoreFunction

#: What Hugging Face's and torchvision's models call them.
_LOGITS = "logits", "out"
#: Returns the classes of a batch.
Labels = Callable[[Any], Any]


def loss_of(
    source: str | None, labels: Labels | None, device: str | None = None
) -> "ScoreFunction | None":
    """Return the loss that the user named, or the cross entropy, or None without labels.

    Args:
        source: how the user named it, if at all.
        labels: returns the classes of a batch, if it has any.
        device: the value of --device: the user's loss gets its batches there.

    Raises:
        LoadError: there is no such function. The loss raises it too, where it cannot be computed.
    """
    if source:
        return _named("--loss", source, device)
    return labels and _checked("the cross entropy", cross_entropy(labels))


def metric_of(
    source: str | None, labels: Labels | None, device: str | None = None
) -> "ScoreFunction | None":
    """Return the metric that the user named, or the error rate, or None without labels.

    Raises:
        LoadError: as `loss_of`.
    """
    if source:
        return _named("--metric", source, device)
    return labels and _checked("the error rate", error_rate(labels))


def cross_entropy(labels: Labels) -> "ScoreFunction":
    """Return a score function: the cross entropy of each sample's logits."""

    def score(output: Any, batch: Any) -> Any:
        from torch.nn import functional as F

        logits = _logits_in(output)
        classes = labels(batch).to(logits.device).long()
        return F.cross_entropy(logits.float(), classes, reduction="none")

    return score


def error_rate(labels: Labels) -> "ScoreFunction":
    """Return a score function: 1 for each sample that is classified wrongly, and 0 otherwise."""

    def score(output: Any, batch: Any) -> Any:
        logits = _logits_in(output)
        return (logits.argmax(1) != labels(batch).to(logits.device)).double()

    return score


def _logits_in(output: Any) -> Any:
    """Return the logits of an output with names, a dict or dataclass; another one as it is."""
    import torch

    named = output
    if is_dataclass(output):
        named = {field.name: getattr(output, field.name) for field in fields(output)}
    if not isinstance(named, Mapping):
        return output
    tensors = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    floating = [value for value in tensors.values() if value.is_floating_point()]
    usual = [tensors[name] for name in _LOGITS if name in tensors]
    return (usual or floating)[0] if usual or len(floating) == 1 else output


def _named(option: str, source: str, device: str | None) -> "ScoreFunction":
    """Load the function that the user named, as a score of batches on the device."""
    import torch

    function = load_object(source)
    if not callable(function):
        raise LoadError(
            f"{option} {source}: is not a function; name one that takes (output, batch)"
        )
    if device is None:
        return _checked(f"{option} {source}", function)
    place = torch.device(device)
    return _checked(
        f"{option} {source}", lambda output, batch: function(output, beside(batch, place))
    )


def _checked(name: str, score: "ScoreFunction") -> "ScoreFunction":
    """Return a score that raises a LoadError where it cannot be computed."""

    def checked(output: Any, batch: Any) -> Any:
        import torch

        try:
            return torch.as_tensor(score(output, batch))
        except (Exception, SystemExit) as failure:
            raise LoadError(
                f"{name}: {describe_with_line(failure)}, for an output of class "
                f"{type(output).__name__}; give --loss and --metric file.py:function of "
                "(output, batch) that return a number or one for each sample, or data without "
                "labels"
            ) from failure

    return checked

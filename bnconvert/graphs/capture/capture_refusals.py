"""Why no capture succeeded, in words, and what to do about it."""

from collections.abc import Mapping

from torch import fx, nn

from bnconvert.errors import CaptureError, first_line
from bnconvert.graphs.capture.capture_attempts import Attempt
from bnconvert.graphs.capture.torch_words import fixed_axes, reason_of, short_reason_of
from bnconvert.modules.survey import scripted_paths
from bnconvert.reporting.table import listed

Failures = Mapping[Attempt, Exception]
_SHAPES = "change them as torch says"
_GRAPH = (
    "a graph may have no other sizes than it was captured for: capture the model again with "
    "dynamic ones (bnconvert fold --dynamic, or torch.export.export with dynamic_shapes)"
)


def refusal_of_fixed_sizes(model: nn.Module, failures: Failures) -> CaptureError:
    """Return the error where no dynamic shapes were given.

    Args:
        model: the user's.
        failures: of all attempts.
    """
    remedy = "capture a submodule, or give example inputs that its forward accepts"
    name = type(model).__name__
    scripted = [*scripted_paths(model)]
    if scripted and any("torch.jit" in str(failure) for failure in failures.values()):
        return CaptureError(
            f"{name}: torch.export cannot capture it, because {listed(scripted)} is TorchScript; "
            "put the module there that it was made from, or capture a submodule without it"
        )
    return CaptureError(f"{name}: torch.export cannot capture it ({_listed(failures)}); {remedy}")


def refusal_of_shapes(
    model: nn.Module, failures: Failures, others: Failures | None
) -> CaptureError:
    """Return the error where dynamic shapes were given.

    Torch's own words are kept: they say which size cannot vary and what to write instead. But
    nothing can be written instead in a graph, which has the sizes that it was captured for.

    Args:
        model: the user's.
        failures: of the attempts with these shapes.
        others: of the attempts without; None where one succeeded.
    """
    name = type(model).__name__
    told = {reason_of(why).partition(": ")[2]: reason_of(why) for why in failures.values()}
    words = " / ".join(told.values())
    if others is not None:
        return CaptureError(
            f"{name}: torch.export cannot capture it, neither with the given dynamic_shapes "
            f"({words}) nor without ({_listed(others)}); capture a submodule, or leave them out to "
            "fold its parts"
        )
    remedy, rest = _SHAPES, "leave them out"
    if fixed := next(filter(None, map(fixed_axes, failures.values())), ""):
        words, remedy, rest = fixed, "leave these axes out", "all"
    if isinstance(model, fx.GraphModule):
        words, remedy = next(map(first_line, failures.values())), _GRAPH
    return CaptureError(
        f"{name}: torch.export cannot capture it with the given dynamic_shapes ({words}); "
        f"{remedy}, or {rest}: then the batch size varies if it can"
    )


def _listed(failures: Failures) -> str:
    return "; ".join(f"{tried.name}: {short_reason_of(why)}" for tried, why in failures.items())

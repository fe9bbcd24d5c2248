"""How often a forward calls a norm, counted by running it, where it cannot be traced."""

import torch
from torch import Tensor, nn

from bnconvert.errors import Refusal, first_line
from bnconvert.modules.copies.copying import copy_sharing_parameters
from bnconvert.modules.copies.preserving import preserved
from bnconvert.modules.site import Site
from bnconvert.numerics.random_state import preserved_random_state


def why_several_calls(site: Site, reference: tuple[Tensor, ...]) -> Refusal | None:
    """Refuse a norm that one forward calls several times, by the trace or else by running it.

    Args:
        site: looked at only.
        reference: positional inputs of the model, whose moments at each norm are to be kept.
    """
    calls = len(site.calls)
    if calls < 2 and site.has_hidden_calls:
        try:
            calls = calls_in_forward(site.model, reference, site.module)
        except Exception as failure:  # whatever the user's model raises
            return Refusal(
                "reference-fails",
                f"the reference does not run through the model ({first_line(failure)})",
                "give a reference that the model takes",
            )
    if calls < 2:
        return None
    return Refusal(
        "called-several-times",
        f"is called {calls} times in one forward, and the reference's moments of one call do not "
        "fit another",
        # Separate(domains="calls") needs calls that a trace counts.
        "use Keep()" if site.has_hidden_calls else 'use Separate(domains="calls") or Keep()',
    )


def calls_in_forward(model: nn.Module, inputs: tuple[Tensor, ...], norm: nn.Module) -> int:
    """Return how often one forward calls a norm; it runs in a copy, in eval mode.

    Args:
        model: it is not changed.
        inputs: its positional inputs.
        norm: one of its modules.
    """
    path = next(path for path, module in model.named_modules() if module is norm)
    twin, calls = copy_sharing_parameters(model), 0  # which may count its own calls in a buffer
    for module in twin.modules():
        module.training = False

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    twin.get_submodule(path).register_forward_pre_hook(count)
    device = next((p.device for p in model.parameters()), inputs[0].device)
    with torch.no_grad(), preserved(model), preserved_random_state():
        twin(*(tensor.to(device) for tensor in inputs))
    return calls

"""`survey`: find all norms of a model and trace their calls by torch.fx, as far as it goes."""

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from bnconvert.errors import UnsupportedModelError, first_line
from bnconvert.modules.copies.copying import copy_sharing_parameters
from bnconvert.modules.copies.preserving import preserved
from bnconvert.modules.kinds import is_only_a_norm, kind_of
from bnconvert.modules.lazy_modules import require_numbers
from bnconvert.modules.sharding import why_sharded
from bnconvert.modules.site import Survey
from bnconvert.modules.tracing.norm_tracer import NormTracer
from bnconvert.modules.tracing.trace import (
    Trace,
    functional_norms,
    registered_sites,
    unregistered_sites,
)
from bnconvert.modules.tracing.unregistered import unregistered_norms
from bnconvert.numerics.random_state import HostRandomState, preserved_random_state
from bnconvert.torch_private.compilation import is_compiled
from bnconvert.torch_private.one_at_a_time import one_at_a_time


@one_at_a_time()
def survey(model: nn.Module) -> Survey:
    """Find every batch norm of `model`, and trace where its forward calls it.

    The trace runs on a deep copy that shares the parameters, because tracing leaves proxies in
    the caches of some models. A submodule that cannot be traced is one call in the graph, and
    its reason is noted; where the root itself cannot be traced, only the module tree is read,
    and the code of the forwards.

    Raises:
        UnsupportedModelError: `model` is wrapped, compiled or scripted, or no module at all.
    """
    require_eager(model)
    trace = traced(model)
    scripted = tuple(scripted_paths(model))
    sites = tuple(registered_sites(model, trace))
    called, idle = unregistered_sites(model, trace)
    functional = tuple(functional_norms(model, trace))
    return Survey(
        model, trace.graph, (*sites, *called), trace.closed, scripted, functional, tuple(idle)
    )


def scripted_paths(module: nn.Module, path: str = "") -> Iterator[str]:
    """Yield the paths of the outermost TorchScript modules below a module at `path`."""
    if isinstance(module, torch.jit.ScriptModule):
        yield path
        return
    for name, child in module.named_children():
        yield from scripted_paths(child, f"{path}.{name}".lstrip("."))


def _module_of(thing: object) -> str:
    """Say where the module is: in a result of ours, in a torch.export program, or elsewhere."""
    inner = getattr(thing, "module", None)
    if isinstance(inner, nn.Module):
        return "its .module"
    return "its .module()" if callable(inner) else "the module itself"


def require_eager(model: object) -> None:
    """Raise unless `model` is an eager, unwrapped module, whole in this process.

    Raises:
        UnsupportedModelError: it says how to unwrap the model.
    """
    if not isinstance(model, nn.Module):
        name = type(model).__name__
        article = "an" if name[:1] in "AEIOU" else "a"
        raise UnsupportedModelError(
            f"{article} {name} is not a torch.nn.Module; give {_module_of(model)}"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            "the model is TorchScript, whose modules cannot be replaced; "
            "give the eager model that it was scripted from"
        )
    if is_compiled(model):
        raise UnsupportedModelError(
            "the model is wrapped by torch.compile; give model._orig_mod and compile the result"
        )
    if isinstance(model, DistributedDataParallel | DataParallel):
        raise UnsupportedModelError(
            f"the model is wrapped by {type(model).__name__}; give model.module and wrap the result"
        )
    if reason := why_sharded(model):
        raise UnsupportedModelError(reason)


def require_runnable(model: nn.Module) -> None:
    """Raise unless `model` is eager and has its weights, so that its copies compute what it does.

    Raises:
        UnsupportedModelError: it says how to unwrap the model, which modules to run once, or to
            load the weights.
    """
    require_eager(model)
    require_numbers(model)


def traced(model: nn.Module, is_leaf: Callable[[nn.Module], bool] = lambda module: False) -> Trace:
    """Trace a copy of the model; return the graph, and what could not be traced.

    Args:
        model: looked at only.
        is_leaf: tells of a module whether it is one call in the graph, beside norms.
    """
    if kind_of(model) is not None and is_only_a_norm(model):
        return Trace(None, {"": "the model is itself a norm"})
    if "forward" in vars(model):
        return Trace(
            None, {"": "its forward is replaced on the object, which torch.fx does not see"}
        )
    try:
        # A forward may draw numbers while it is traced, and put proxies anywhere.
        with preserved_random_state(), preserved(model):
            state = HostRandomState()
            trace = _trace_of(model, NormTracer(is_leaf))
            if state.has_changed():
                state.restore()
                trace = _trace_of(model, NormTracer(is_leaf, closes_draws=True))
            return trace
    except Exception as failure:
        return Trace(None, {"": first_line(failure)})


def _trace_of(model: nn.Module, tracer: NormTracer) -> Trace:
    """Trace a copy of a model by a new tracer."""
    copy = copy_sharing_parameters(model)
    places = [id(norm) for _, _, norm, _ in unregistered_norms(copy)]
    graph = tracer.trace(copy)
    unregistered = {
        node: places.index(id(norm)) if id(norm) in places else None
        for node, norm in tracer.unregistered.items()
    }
    return Trace(graph, tracer.untraceable, unregistered)

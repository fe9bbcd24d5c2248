"""What reads a layer's output in a traced graph: a norm, the model's output, or something else."""

from collections.abc import Iterator

from torch import fx, nn

from bnconvert.modules.kinds import kind_of

#: Operators after which values are a hidden layer's, by their names without "_".
_RECTIFIERS = {
    *("relu", "relu6", "leakyrelu", "prelu", "prelukernel", "rrelu", "elu", "selu", "celu"),
    *("gelu", "silu", "swish", "mish", "hardswish", "hardtanh", "softplus", "threshold", "glu"),
}
_NORM_NAMES = ("batchnorm", "layernorm", "groupnorm", "instancenorm", "rmsnorm", "localresponse")


def normalizing(node: fx.Node, model: nn.Module) -> str | None:
    """Return the name of the norm that consumes a value, or None.

    Args:
        node: the value.
        model: whose modules the graph calls.
    """
    for user in node.users:
        module = _module(user, model)
        if module is not None and kind_of(module) is not None:
            return str(user.target)
        if any(part in _operator(user, model) for part in _NORM_NAMES):
            return str(user.target if module is not None else user.name)
    return None


def identity_after(node: fx.Node, model: nn.Module) -> str | None:
    """Return the path of the `nn.Identity` that is a value's only consumer, or None.

    A graft leaves one where the norm was. One that is called several times is not for this value.
    """
    users = list(node.users)
    if len(users) != 1 or type(_module(users[0], model)) is not nn.Identity:
        return None
    own = _module(users[0], model)
    calls = [other for other in node.graph.nodes if _module(other, model) is own]
    return str(users[0].target) if len(calls) == 1 else None


def is_output(node: fx.Node, model: nn.Module) -> bool:
    """Tell whether a value reaches the model's output past no further layer and no rectifier.

    Args:
        node: the value.
        model: whose modules the graph calls.
    """
    pending, seen = list(node.users), set[fx.Node]()
    while pending:
        user = pending.pop()
        if user.op == "output":
            return True
        if user not in seen and not _is_hidden(user, model):
            pending.extend(user.users)
        seen.add(user)
    return False


def _is_hidden(node: fx.Node, model: nn.Module) -> bool:
    """Tell whether an operator has weights, or is a rectifier: its output is a hidden layer's."""
    module = _module(node, model)
    if module is not None and next(module.parameters(), None) is not None:
        return True
    reads = any(argument.op == "get_attr" for argument in node.all_input_nodes)
    return reads or _operator(node, model) in _RECTIFIERS


def calls_of(paths: tuple[str, ...], graph: fx.Graph | None) -> Iterator[fx.Node]:
    """Yield the calls of the module at the given paths."""
    for node in graph.nodes if graph is not None else ():
        if node.op == "call_module" and node.target in paths:
            yield node


def _module(node: fx.Node, model: nn.Module) -> nn.Module | None:
    """Return the module that a node calls, or None."""
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _operator(node: fx.Node, model: nn.Module) -> str:
    """Return an operator's name in lower case without "_", of a module that of its class."""
    module = _module(node, model)
    if module is not None:
        name = type(module).__name__
    else:
        name = str(getattr(node.target, "__name__", node.target)).partition(".")[0]
    return name.lower().replace("_", "")

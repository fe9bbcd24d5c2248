"""The module of an exported program, in a time that does not grow with the square of its tensors.

Stands in for `ExportedProgram.module()`, which puts each tensor into place by a look at every
sibling of each module above it: for a sequence of thousands of layers that takes longer than the
capture. Known to work since torch 2.10.
"""

import copy
from dataclasses import replace
from itertools import count as numbers

from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature, InputKind, InputSpec

_MOVED = (InputKind.BUFFER, InputKind.PARAMETER)


def module_of(program: ExportedProgram) -> fx.GraphModule:
    """Return what `program.module()` does.

    The program that torch is asked of has the same tensors, all at the top; afterwards they move
    to their places.

    Args:
        program: it is not changed.
    """
    specs = [spec for spec in program.graph_signature.input_specs if spec.kind in _MOVED]
    taken = {str(spec.target) for spec in specs}
    names = (name for name in map("_tensor_{}".format, numbers()) if name not in taken)
    places = dict(zip(names, specs, strict=False))
    module = _flat(program, {str(spec.target): name for name, spec in places.items()}).module()
    assert isinstance(module, fx.GraphModule)
    owners: dict[str, nn.Module] = {"": module}
    for name, spec in places.items():
        _move(module, name, spec, owners)
    for node in module.graph.find_nodes(op="get_attr"):
        if node.target in places:
            with module.graph.inserting_before(node):
                moved = module.graph.get_attr(str(places[node.target].target))
            moved.meta = node.meta
            node.replace_all_uses_with(moved)
            module.graph.erase_node(node)
    module.recompile()
    return module


def _flat(program: ExportedProgram, names: dict[str, str]) -> ExportedProgram:
    """Return a program that calls the tensors otherwise, and shares everything with another.

    Args:
        program: the other.
        names: what each parameter and buffer is to be called.
    """
    inputs, outputs = program.graph_signature.input_specs, program.graph_signature.output_specs
    flat = copy.copy(program)
    flat._graph_signature = ExportGraphSignature(
        [replace(s, target=names[str(s.target)]) if s.kind in _MOVED else s for s in inputs],
        [replace(s, target=names[s.target]) if s.target in names else s for s in outputs],
    )
    flat._state_dict = {names.get(name, name): t for name, t in program.state_dict.items()}
    flat._constants = {names.get(name, name): t for name, t in program.constants.items()}
    return flat


def _move(module: nn.Module, name: str, spec: InputSpec, owners: dict[str, nn.Module]) -> None:
    """Move a tensor to the module that holds it in the model; make those that are missing.

    Args:
        module: the root, where it lies.
        name: what it is called there.
        spec: says where it belongs.
        owners: the modules that are known by their paths, to which new ones are added.
    """
    value = getattr(module, name)
    delattr(module, name)
    path, _, own = str(spec.target).rpartition(".")
    owner = _owner(path, owners)
    if spec.kind is InputKind.PARAMETER:
        owner.register_parameter(own, value)
    else:
        assert isinstance(value, Tensor)
        owner.register_buffer(own, value, persistent=bool(spec.persistent))


def _owner(path: str, owners: dict[str, nn.Module]) -> nn.Module:
    if path not in owners:
        above, _, name = path.rpartition(".")
        holder = _owner(above, owners)
        held = getattr(holder, name, None)
        if held is not None and not isinstance(held, nn.Module):
            # A graph module has a `graph`, a `code` and a `meta` of its own: as torch does, refuse.
            raise AttributeError(f"{path}: a {type(holder).__name__} has a {name!r} of its own")
        if held is None:
            setattr(holder, name, held := nn.Module())
        owners[path] = held
    return owners[path]

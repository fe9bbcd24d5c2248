"""The names of a file's inputs, outputs and axes: asked for, or the model's own."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from bnconvert.errors import ExportError
from bnconvert.exporting.writing.onnx_form import OnnxForm
from bnconvert.graphs.example import Example
from bnconvert.graphs.given_shapes import shapes_of_tensors
from bnconvert.torch_private.exported_graphs import calling_convention


def graph_output_keys(module: fx.GraphModule) -> list[str]:
    """Return what the keys of a captured model call its output tensors, as `output_keys`."""
    results = pytree.tree_leaves(module.graph.output_node().args)
    spec = calling_convention(module.graph).out_spec
    values = [r.meta.get("val") if isinstance(r, fx.Node) else r for r in results]
    try:
        return output_keys(pytree.tree_unflatten(values, spec))
    except Exception:  # a class that is not made of what its tensors are replaced by
        return []


def output_keys(output: Any) -> list[str]:
    """Return a name for each tensor of a model's output; "" for one that no key leads to.

    It is the keys of dicts and the fields of dataclasses, joined: {"aux": {"logits": x}} gives
    "aux_logits". Places in sequences count where several have the same keys: the boxes of two
    images are "boxes_0" and "boxes_1".

    Args:
        output: what a forward returns.
    """
    leaves = pytree.tree_flatten_with_path(output)[0]
    paths = [path for path, leaf in leaves if isinstance(leaf, Tensor)]
    short = ["_".join(_keys(path)) for path in paths]
    shared = Counter(short)
    return [
        "_".join([name, *_places(path)]) if name and shared[name] > 1 else name
        for name, path in zip(short, paths, strict=True)
    ]


def _keys(path: Sequence[Any]) -> Iterator[str]:
    for step in path:
        if not isinstance(step, pytree.SequenceKey):
            key = getattr(step, "key", None)
            yield str(getattr(step, "name", key) if key is None else key)


def _places(path: Sequence[Any]) -> Iterator[str]:
    yield from (str(step.idx) for step in path if isinstance(step, pytree.SequenceKey))


def axes_of_tensors(module: nn.Module, example: Example, dynamic_shapes: Any) -> Any:
    """Return dynamic shapes for the tensors among the inputs of a program, in their order.

    Torch names the axes of a file's inputs by them one by one, and none at all where there are more
    shapes than inputs: a file has none for a number, a flag or None.

    Args:
        module: says what its inputs are called.
        example: the inputs.
        dynamic_shapes: for all of them, as torch.export takes it.
    """
    found = shapes_of_tensors(module, example, dynamic_shapes)
    return dynamic_shapes if found is None else tuple(axes for _, _, axes in found)


def rename(model: Any, form: OnnxForm, keys: Sequence[str]) -> None:
    """Give a file's inputs and outputs their names; other values that have them get new ones.

    Args:
        model: of onnx_ir, in memory.
        form: the names that were asked for.
        keys: what the keys of the model's output call each of its tensors, "" where they do not.

    Raises:
        ExportError: there are more names than inputs or outputs, or fewer; or an input is to be
            called as another one is.
    """
    graph = model.graph
    own = [_own_name(value, graph) for value in graph.inputs]
    inputs = _asked("input_names", form.inputs, own) or own
    for place, name in enumerate(inputs):
        if name in own and own.index(name) != place:
            raise ExportError(
                f"input_names: {name!r} is what input {own.index(name)} of the model is called, "
                f"and is given to input {place}; give each its own name, or another one"
            )
    asked = _asked("output_names", form.outputs, [value.name for value in graph.outputs])
    if not asked and len(keys) == len(graph.outputs):
        named = [_instead_of(key, inputs) or key for key in keys]
        asked = [name if named.count(name) == 1 else "" for name in named]
    outputs = [
        name or _instead_of(value.name, [*inputs, *asked])
        for name, value in zip(asked or [""] * len(graph.outputs), graph.outputs, strict=True)
    ]
    _make_room(graph, {*inputs, *outputs})
    for value, name in zip(graph.inputs, inputs, strict=True):
        value.name = name
    _separate_outputs(graph)
    for value, name in zip(graph.outputs, outputs, strict=True):
        value.name = name or value.name


def _own_name(value: Any, graph: Any) -> str:
    """Return what an input of the model is called.

    Torch calls one that the model returns as it is "x_orig", and its copy among the outputs "x".
    """
    name = str(value.name).removesuffix("_orig")
    makers = [output.producer() for output in graph.outputs if output.name == name]
    is_copied = any(maker is not None and value in maker.inputs for maker in makers)
    return name if is_copied else str(value.name)


def _instead_of(name: str, taken: Sequence[str]) -> str:
    """Return the name of an output that would be called as an input is; "" where it is free."""
    other = f"{name}_output"
    return other if name in taken and other not in taken else ""


def _asked(argument: str, names: Sequence[str], own: Sequence[str]) -> list[str]:
    """Return names that were asked for, one for each of a file's own."""
    if names and len(names) != len(own):
        raise ExportError(
            f"{argument}: {len(names)} names ({', '.join(names)}) for {len(own)} tensors "
            f"({', '.join(own)}); give one name for each"
        )
    return list(names)


def _make_room(graph: Any, names: set[str]) -> None:
    """Rename the values inside, and the outputs, that have a name which is needed."""
    kept = {id(value) for value in graph.inputs}
    values = [*graph.initializers.values()]
    values += [value for node in graph.all_nodes() for value in node.outputs]
    taken = names | {value.name for value in values}
    for value in values:
        if value.name in names and id(value) not in kept:
            numbers = (f"{value.name}_{number}" for number in range(1, len(taken) + 2))
            value.name = next(name for name in numbers if name not in taken)
            taken.add(value.name)


def _separate_outputs(graph: Any) -> None:
    """Let an output that is an input, a weight or another output have a value of its own."""
    import onnx_ir

    seen = {id(value) for value in (*graph.inputs, *graph.initializers.values())}
    for place, value in enumerate(graph.outputs):
        if id(value) in seen:
            node = onnx_ir.node("Identity", [value], name=f"{value.name}_copy_{place}")
            copy = node.outputs[0]
            copy.name, copy.shape, copy.type = f"{value.name}_{place}", value.shape, value.type
            graph.append(node)
            graph.outputs[place] = value = copy
        seen.add(id(value))

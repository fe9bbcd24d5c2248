"""What a file's graph says of its outputs: which are bounded, and which its inputs decide."""

from pathlib import Path

from bnconvert.verification.files.onnx_graph import Operator, operators_of

#: Operators that are functions bounded by 1.
BOUNDED = frozenset({"Sigmoid", "Tanh", "Softmax", "Erf"})
#: Operators that move numbers and leave them as they are.
_VIEWS = frozenset({"Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten",
                    "Slice", "Split"})  # fmt: skip


def bounded_outputs(path: Path) -> frozenset[int]:
    """Return which outputs bounded functions compute, whose kernels round relative to 1."""
    producers, outputs = _producers(path)

    def is_bounded(name: str) -> bool:
        operator = producers.get(name)
        while operator is not None and operator.kind in _VIEWS:
            operator = producers.get(operator.inputs[0])
        return operator is not None and operator.kind in BOUNDED

    return frozenset(place for place, name in enumerate(outputs) if is_bounded(name))


def outputs_of_inputs(path: Path) -> set[int]:
    """Return which outputs are computed from the numbers of the inputs, not from sizes alone."""
    producers, outputs = _producers(path)
    return {place for place, name in enumerate(outputs) if name in producers}


def _producers(path: Path) -> tuple[dict[str, Operator], tuple[str, ...]]:
    operators, outputs = operators_of(path)
    return {name: operator for operator in operators for name in operator.outputs}, outputs

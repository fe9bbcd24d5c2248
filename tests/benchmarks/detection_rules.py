"""How each way of checking judges an ONNX file: ours, and the rules of other tools.

None of the others is run itself: each rule is written here as the tool's source has it, on the
model's own outputs, so that all judge the same files on the same inputs. torch: the thresholds of
`torch.onnx.export(verify=True)` (5e-3 absolute, 1e-1 relative to each entry + 1e-7). timmx: the
mean cosine similarity is at least 0.9. polygraphy: no entry is off by more than 1e-5 and by more
than 1e-5 of itself (its "elemwise"). onnxsim: `numpy.allclose` with rtol 1e-4 and atol 1e-5, on
five random inputs.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example, named_tensors
from bnconvert.verification.agreement import cosine
from bnconvert.verification.files.onnx_runner import OnnxRunner
from bnconvert.verification.references.model_outputs import outputs_of
from bnconvert.verification.verification import prove

#: What a rule says of a file; every one but ours knows the first two only.
ACCEPTED, REJECTED, UNJUDGED = "accepted", "rejected", "cannot be judged"
#: Tells whether a rule accepts the file as the model's; one that can also say neither says it.
Rule = Callable[[nn.Module, Example, Path], bool | str]
Pairs = list[tuple[Tensor, Tensor]]


def ours(model: nn.Module, example: Example, path: Path) -> str:
    verdict = prove(model, example, path).report.verdict
    return {"agrees": ACCEPTED, "cannot be judged": UNJUDGED}.get(verdict, REJECTED)


def torch_rule(model: nn.Module, example: Example, path: Path) -> bool:
    for file, own in _outputs(model, example, path):
        gap = (file.double() - own.double()).abs()
        relative = gap / (own.double().abs() + 1e-7)
        if gap.max() >= 5e-3 or relative.max() >= 1e-1:
            return False
    return True


def timmx_rule(model: nn.Module, example: Example, path: Path) -> bool:
    cosines = [cosine(file, own) for file, own in _outputs(model, _drawn(example, 0), path)]
    return float(np.mean(cosines)) >= 0.9


def polygraphy_rule(model: nn.Module, example: Example, path: Path) -> bool:
    for file, own in _outputs(model, _drawn(example, 0), path):
        gap = (file.double() - own.double()).abs()
        relative = gap / own.double().abs().clamp(min=2.2e-16)
        if (~(gap <= 1e-5) & ~(relative <= 1e-5)).any():
            return False
    return True


def onnxsim_rule(model: nn.Module, example: Example, path: Path) -> bool:
    return all(
        np.allclose(file.numpy(), own.numpy(), rtol=1e-4, atol=1e-5)
        for seed in range(5)
        for file, own in _outputs(model, _drawn(example, seed), path)
    )


RULES: dict[str, Rule] = {
    "bnconvert": ours,
    "torch verify=True": torch_rule,
    "timmx": timmx_rule,
    "polygraphy": polygraphy_rule,
    "onnxsim": onnxsim_rule,
}


def judged(rule: Rule, model: nn.Module, example: Example, path: Path) -> str:
    """Return what a rule says of a file; one that does not run is rejected."""
    try:
        said = rule(model, example, path)
    except Exception:
        return REJECTED
    return said if isinstance(said, str) else (ACCEPTED if said else REJECTED)


def _drawn(example: Example, seed: int) -> Example:
    return example.like(torch.Generator().manual_seed(seed))


def _outputs(model: nn.Module, example: Example, path: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each output of the file beside the model's own.

    Raises:
        ValueError: the file does not run, or its outputs have other shapes.
    """
    file = OnnxRunner(path)
    outputs, own = file.run(file.feed(named_tensors(model, example))), outputs_of(model, example)
    if isinstance(outputs, str) or [o.shape for o in outputs] != [o.shape for o in own]:
        raise ValueError("other shapes")
    yield from zip(outputs, own, strict=True)


def effect(right: Path, wrong: Path, model: nn.Module, example: Example) -> float:
    """Return the largest relative change of a channel of an output that a fault makes.

    The inputs are the given ones and, where the file takes more, a larger random batch; ONNX
    Runtime's own optimizations are off, so that only the fault differs.
    """
    worst = 0.0
    for inputs in (example, _drawn(example, 1), _larger(example)):
        found = [_raw(path, model, inputs) for path in (right, wrong)]
        if found[0] is None:
            continue
        if found[1] is None:
            return np.inf
        for one, other in zip(*found, strict=True):
            if one.shape != other.shape:
                return np.inf
            a, b = (np.asarray(v, dtype=np.float64) for v in (one, other))
            axes = tuple(axis for axis in range(a.ndim) if axis != 1) if a.ndim > 1 else None
            size = np.sqrt(np.square(a).mean(axes))
            gap = np.sqrt(np.square(a - b).mean(axes))
            floor = 1e-12 + 0 * size
            change = np.where(gap > 0, gap / np.maximum(size, floor), 0.0)
            worst = max(worst, float(np.nan_to_num(change, nan=np.inf).max(initial=0.0)))
    return worst


def _larger(example: Example) -> Example:
    own = example.batch or 1
    more = example.rows([row % own for row in range(own + 3)])
    return _drawn(more, 2)


def _raw(path: Path, model: nn.Module, example: Example) -> list[np.ndarray] | None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        names = [value.name for value in session.get_inputs()]
        feed = [t.numpy() for _, t in named_tensors(model, example)]
        return list(session.run(None, dict(zip(names, feed, strict=True))))
    except Exception:
        return None

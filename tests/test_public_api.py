"""The public names and signatures: users, documents and checks rely on them."""

import ast
import inspect
from pathlib import Path

import pytest

import bnconvert as bnc

ERRORS = {
    "BnconvertError",
    "CaptureError",
    "ConventionError",
    "ExportError",
    "FoldedTrainingError",
    "InconclusiveError",
    "OutputError",
    "PolicyError",
    "RefusedError",
    "ReportError",
    "StatisticsError",
    "UnsupportedModelError",
    "VerificationError",
}
TYPES = {
    "Equalized",
    "Folded",
    "Plan",
    "Policy",
    "Prepared",
    "Recomputation",
    "Report",
    "RestorePlan",
    "Suggestion",
}
MODULES = {"conventions"}
TUPLES = {"NORM_CLASSES"}
SIGNATURES = {
    "Keep": "() -> None",
    "Frozen": "(affine: Literal['frozen', 'trainable'] = 'frozen') -> None",
    "Sync": "(process_group: Any = None) -> None",
    "Ghost": "(size: int = 32) -> None",
    "Virtual": "(reference: torch.Tensor | tuple[torch.Tensor, ...], per_sample: bool = False)"
    " -> None",
    "Renorm": "(r_max: float = 3.0, d_max: float = 5.0, warmup_steps: int = 0) -> None",
    "Separate": "(domains: Union[tuple[str, ...], Literal['calls']] = ('source', 'target'), "
    "affine: Literal['shared', 'separate'] = 'shared', "
    "each: bnconvert.modules.rewrite.Rewrite = Keep()) -> None",
    "Adaptive": "(prior: float = 16, over: Literal['batch', 'stream'] = 'batch') -> None",
    "Group": "(groups: int = 32, plain: bool = False) -> None",
    "Instance": "() -> None",
    "update_statistics": "(model, updates)",
    "use_statistics": "(model, statistics)",
    "domain": "(model, which)",
    "checkpoint_contexts": "(model)",
    "reset_stream": "(model)",
    "plan": "(model, policy)",
    "convert": "(model, policy, *, inplace=False)",
    "revert": "(model, *, domain=None, inplace=False)",
    "prepare": "(model, policy, *, weight_decay=0.0, accumulate=1, restore=None, batch_size=None, "
    "world_size=1, task=None, domains=1, pretrained=True)",
    "plan_restore": "(model, *, layers=None)",
    "restore": "(model, batches, *, layers=None, eps=None, forward=None, max_samples=None, "
    "memory_limit=None, progress=None)",
    "accumulated_momentum": "(momentum, steps)",
    "set_momentum": "(model, momentum)",
    "suggest": "(model, *, batch_size, world_size=1, task=None, domains=1, pretrained=True)",
    "exempt_norms": "(model, optimizer)",
    "inspect": "(model, example_inputs=None, *, optimizer=None, loader=None)",
    "diagnose": "(model, batches, *, loss=None, metric=None, forward=None, domains=None)",
    "explain": "(id)",
    "recompute_statistics": "(model, batches, *, method='layerwise', variance='population', "
    "forward=None, max_samples=None, domain=None, memory_limit=None, process_group=None, "
    "progress=None)",
    "measured": "(model, batches, *, method='layerwise', variance='population', forward=None, "
    "max_samples=None, domain=None, memory_limit=None, process_group=None, progress=None)",
    "equalize": "(folded, *, relu6='keep', biases='keep')",
    "fold": "(model, example_inputs, *, dynamic_shapes=None)",
    "export": "(model, example_inputs, path, *, calibration=None, verify_inputs=None, "
    "dynamic_shapes=None, preprocess=None, opset=None, input_names=None, output_names=None, "
    "dtype=None, allow_nonfinite=(), progress=None)",
    "verify": "(model, onnx_path, inputs, *, preprocess=None, allow_nonfinite=(), tolerance=None, "
    "agreement=None, runtime='onnxruntime', providers=(), progress=None)",
}


def bare(function: object) -> str:
    """Return a signature without its annotations."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


def test_the_public_names_are_these() -> None:
    assert set(dir(bnc)) == ERRORS | TYPES | MODULES | TUPLES | set(SIGNATURES)


@pytest.mark.parametrize("name", sorted(ERRORS | TYPES | set(SIGNATURES)))
def test_a_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(bnc, name)
    assert value.__name__ == name
    assert inspect.getdoc(value)


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_a_signature_stays(name: str) -> None:
    value = getattr(bnc, name)
    shown = str(inspect.signature(value)) if inspect.isclass(value) else bare(value)
    assert shown == SIGNATURES[name]


def test_a_public_module_is_there() -> None:
    assert bnc.conventions.__name__ == "bnconvert.conventions"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'covert'"):
        bnc.covert  # noqa: B018


def test_the_lazy_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse(Path(bnc.__file__ or "").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (alias.asname, node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == set(bnc._HOME_OF.items())


def test_every_error_has_one_root() -> None:
    for name in ERRORS:
        assert issubclass(getattr(bnc, name), bnc.BnconvertError)

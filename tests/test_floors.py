"""The architecture: imports go down only, and files and functions stay small."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bnconvert"
#: From the doors down to the ground: a file imports only from below it.
FLOORS = (
    "__main__",
    "cli",
    "__init__",
    "integrations",
    "exporting",
    "diagnosis",
    "conversion",
    "folding",
    "statistics",
    "norms",
    "verification",
    "graphs",
    "modules",
    "reporting",
    "conventions",
    "numerics",
    "torch_private",
    "errors",
)
#: The order inside rooms, where a file imports a sibling.
ROOMS = {
    "cli": (
        "__init__",
        "convert",
        "diagnose",
        "explain",
        "export",
        "fold",
        "inspect",
        "prepare",
        "recompute",
        "rules",
        "suggest",
        "verify",
        "sources.data_source",
        "sources.image_folders",
        "sources.data",
        "models.model_options",
        "models.model_source",
        "checkpoints.__init__",
        "checkpoints.weight_sets",
        "checkpoints.shards",
        "checkpoints.checkpoint_file",
        "checkpoints.numpy_weights",
        "checkpoints.key_prefixes",
        "checkpoints.misfit",
        "checkpoints.model_part",
        "models.program_file",
        "models.zoo_models",
        "models.hub",
        "reports.presentation",
        "reference_file",
        "reports.baseline",
        "reports.formats",
        "reports.annotations",
        "output",
        "preprocessing",
        "reports.sarif",
        "reports.place",
        "sources.scores",
        "reports.selection",
        "reports.settings",
        "example_inputs",
        "file_options",
        "judgement",
        "dynamic_axes",
        "sources.images",
        "sources.npz",
        "sources.domain_names",
        "user_code",
        "device",
        "options",
        "reports.report_options",
        "models.model_arguments",
        "values",
        "models.__init__",
        "sources.__init__",
        "reports.__init__",
    ),
    "exporting": (
        "__init__",
        "export",
        "verify",
        "blame",
        "candidate",
        "failure_bundle",
        "input_choice",
        "metadata",
        "jitter",
        "writing.onnx_tracing",
        "users_data",
        "origin",
        "preconditions",
        "preprocessing",
        "writing.onnx_slimming",
        "writing.onnx_file",
        "simplification.decomposed_program",
        "simplification.attention_parts",
        "simplification.token_rows",
        "writing.file_findings",
        "writing.onnx_half",
        "simplification.onnx_means",
        "simplification.onnx_norms",
        "simplification.onnx_states",
        "simplification.onnx_splits",
        "simplification.onnx_constants",
        "simplification.onnx_unused",
        "writing.onnx_opset",
        "simplification.onnx_rules",
        "writing.onnx_size_names",
        "writing.onnx_saving",
        "simplification.onnx_sample_convolution",
        "writing.onnx_names",
        "writing.onnx_form",
        "writing.onnx_contents",
        "writing.onnx_weights",
        "writing.__init__",
        "simplification.__init__",
    ),
    "diagnosis": (
        "__init__",
        "diagnosis",
        "inspection",
        "evaluation",
        "catalogue.__init__",
        "findings.__init__",
        "norm_rows",
        "findings.counted_calls",
        "findings.biases",
        "findings.calls",
        "findings.channels",
        "findings.finiteness",
        "findings.freezing",
        "findings.loader",
        "findings.measured_data",
        "findings.optimizer",
        "findings.settings",
        "findings.step_counts",
        "findings.counters",
        "findings.unreached",
        "findings.wrappers",
        "findings.stored_tensors",
        "findings.domain_differences",
        "findings.training_batches",
        "findings.uncertainty",
        "findings.value_range",
        "findings.code_lines",
        "findings.rule",
        "findings.training_mode",
        "influence",
        "domains",
        "norm_samples",
        "scores",
        "norm_inputs",
        "catalogue.channels",
        "catalogue.configuration",
        "catalogue.folding",
        "catalogue.measured_data",
        "catalogue.norm_samples",
        "catalogue.onnx_files",
        "catalogue.settings",
        "catalogue.stored_tensors",
        "catalogue.training",
        "catalogue.explanation",
    ),
    "conversion": (
        "__init__",
        "finetuning",
        "conversion",
        "parameter_groups",
        "suggestion",
        "path_rules",
        "restoring.__init__",
        "restoring.restoration",
        "restoring.decisions",
        "restoring.restored_norm",
        "restoring.layer_uses",
        "restoring.restore_plan",
        "plan",
        "policy",
        "notation",
        "situation",
        "choices",
    ),
    "folding": (
        "__init__",
        "equalizing.__init__",
        "equalizing.equalization",
        "equalizing.bias_correction",
        "equalizing.expected_means",
        "equalizing.equalized_graph",
        "equalizing.balancing",
        "equalizing.layer_pair",
        "equalizing.clipping",
        "equalizing.equalized_pair",
        "folding",
        "operators.__init__",
        "fold_report",
        "folded_part",
        "grafting",
        "standing_norms",
        "training_forms",
        "same_function",
        "weight_range",
        "graft_plan",
        "fixpoint",
        "constants",
        "folds.__init__",
        "postcondition",
        "folds.affine",
        "folds.direct",
        "folds.forward",
        "folds.sequences",
        "folds.split",
        "folds.through",
        "outcome",
        "folds.branches",
        "folds.fold",
        "operators.kernel_merging",
        "operators.propagation",
        "operators.concatenation",
        "operators.activations",
        "operators.affine",
        "operators.bounds",
        "operators.conv_transpose",
        "operators.linear",
        "operators.matrix_product",
        "operators.multiplication",
        "operators.padding",
        "operators.pooling",
        "operators.resizing",
        "operators.slicing",
        "operators.views",
        "operators.addition",
        "operators.conv",
        "operators.weighted_rule",
        "operators.computed_weight",
        "operators.weights",
        "operators.operator_rule",
        "operators.graph_plan",
    ),
    "integrations": (
        "__init__",
        "lightning",
        "lightning_batches",
        "module_copies",
        "training_modes",
        "transformers",
    ),
    "statistics": (
        "__init__",
        "measured",
        "recomputation",
        "layerwise",
        "minibatch",
        "notes",
        "loaders",
        "observing",
        "report_rows",
        "paging.activation_paging",
        "batch_forward",
        "reach_order",
        "task",
        "batch_inputs",
        "batches",
        "estimate",
        "interception",
        "captured_norms",
        "lockstep",
        "ranks",
        "paging.device_memory",
        "paging.swap_space",
        "paging.swap_file",
        "paging.swap_memory",
        "thread_state",
        "unmeasured",
        "targets",
        "paging.__init__",
    ),
    "norms": (
        "__init__",
        "checkpointing",
        "adaptive",
        "frozen",
        "instance",
        "group",
        "separate",
        "virtual",
        "virtual_norm",
        "reference_batch",
        "call_count",
        "ghost",
        "keep",
        "momentum",
        "renorm",
        "recorded_norm",
        "separate_norm",
        "switches",
        "sync",
        "torch_switches",
    ),
    "verification": (
        "__init__",
        "file_comparison",
        "values.file_divergence",
        "weights.onnx_unseen_weights",
        "weights.onnx_hidden_channels",
        "weights.onnx_linear_operators",
        "weights.onnx_shown_values",
        "values.reference_values",
        "references.reference_file",
        "files.onnx_outputs",
        "localization",
        "verification",
        "users_batches",
        "comparison",
        "file_judgement",
        "batch_dependence",
        "values.divergence",
        "values.missing_values",
        "compared_inputs",
        "inner_values",
        "row_independence",
        "verdict",
        "agreement",
        "task_agreement",
        "rounding.discontinuities",
        "evidence",
        "nonfinite_outputs",
        "noise",
        "files.onnx_graph",
        "sizes",
        "values.value_matching",
        "values.dual_precision",
        "values.expected_values",
        "finding_ids",
        "files.onnx_runner",
        "files.input_shapes",
        "files.onnx_loading",
        "files.onnx_runtime",
        "values.operator_mapping",
        "parts",
        "weights.weight_trials",
        "weights.weight_dependence",
        "weights.influence",
        "weights.weight_gradients",
        "references.reference",
        "references.pool_answers",
        "references.model_outputs",
        "files.onnx_precision",
        "files.onnx_outline",
        "files.onnx_moved_weights",
        "files.onnx_given_values",
        "files.onnx_nodes",
        "references.batch_statistics",
        "rounding.bounded_outputs",
        "complex_numbers",
        "rounding.lowered_precision",
        "rounding.exact_precision",
        "references.dependence",
        "references.needed_operands",
        "rounding.perturbation",
        "rounding.continuity",
        "raw_inputs",
        "tolerance",
        "cases",
        "rounding.selections",
        "files.__init__",
        "rounding.__init__",
        "references.__init__",
        "values.__init__",
        "weights.__init__",
    ),
    "graphs": (
        "__init__",
        "canonical_forms",
        "exported_program",
        "layer_modules",
        "opaque_objects",
        "capture.parts",
        "capture.traceability",
        "capture.capturing",
        "capture.capture_refusals",
        "capture.capture_attempts",
        "mutable_graph",
        "capture.functionalizing",
        "capture.borrowed_shapes",
        "capture.single_sizes",
        "capture.size_limits",
        "given_shapes",
        "capture.state",
        "capture.frame_room",
        "capture.torch_words",
        "example",
        "drawn_tensors",
        "subgraphs",
        "aten",
        "capture.__init__",
    ),
    "modules": (
        "__init__",
        "folded_module",
        "normalized_layer",
        "wrappers",
        "replacement",
        "survey",
        "tracing.norm_tracer",
        "copies.parameter_copies",
        "copies.copying",
        "copies.preserving",
        "rewrite",
        "sharding",
        "placement",
        "tracing.trace",
        "tracing.forward_code",
        "tracing.hidden_references",
        "copies.plain_copies",
        "copies.rebinding",
        "site",
        "tracking",
        "update_bn",
        "tracing.unregistered",
        "copies.self_references",
        "surgery",
        "digests",
        "folded_norm",
        "kinds",
        "copies.references",
        "normalization",
        "lazy_modules",
        "running_statistics",
        "ambient_modes",
        "modes",
        "paths",
        "copies.__init__",
        "tracing.__init__",
    ),
    "reporting": (
        "__init__",
        "progress",
        "report",
        "page.__init__",
        "page.page",
        "page.gains",
        "page.score_bars",
        "page.strip",
        "page.charts",
        "page.explanations",
        "frame",
        "plot",
        "shown",
        "notebook",
        "page.tables",
        "rendering",
        "markdown",
        "terminal",
        "paths",
        "verdict",
        "repeats",
        "cells",
        "intervals",
        "records",
        "table",
        "whole_file",
    ),
    "numerics": (
        "__init__",
        "batch_dependence",
        "batch_norm",
        "blocks",
        "bootstrap",
        "channel_map",
        "channel_ranges",
        "distance",
        "float32_precision",
        "linear_maps",
        "factored",
        "moments",
        "random_state",
        "reduced",
        "slices",
        "kernels",
    ),
    "torch_private": (
        "__init__",
        "data_dependence",
        "operator_observer",
        "compilation",
        "exported_graphs",
        "module_hooks",
        "module_state",
        "norm_classes",
        "operators",
        "process_groups",
        "recomputation",
        "silence",
        "size_guards",
        "state_loading",
        "storages",
        "symbolic_sizes",
        "program_modules",
        "tensor_versions",
        "views",
        "function_transforms",
        "one_at_a_time",
    ),
}
NAMELESS = {"utils", "helpers", "common", "base", "manager", "handler", "impl"}
FILES = sorted(PACKAGE.rglob("*.py"))


def place(name: str) -> tuple[int, int]:
    """Return a module's floor and its place on it; the doors are 0."""
    floor, _, room = name.partition(".")
    assert floor in FLOORS, f"{name}: is on no floor; add it to FLOORS where it belongs"
    if floor not in ROOMS:
        return FLOORS.index(floor), 0
    if room not in ROOMS[floor]:  # a folder: it is what its __init__ imports
        room = f"{room}.__init__".lstrip(".")
    assert room in ROOMS[floor], f"{name}: is in no room; add it to ROOMS where it belongs"
    return FLOORS.index(floor), ROOMS[floor].index(room)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every module of the package that is imported, wherever the statement stands."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            module = node.module or ""
            for alias in node.names:
                inner = PACKAGE.joinpath(*module.split(".")[1:], f"{alias.name}.py")
                names.append(f"{module}.{alias.name}" if inner.exists() else module)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name == "bnconvert":
                yield "__init__"
            elif name.startswith("bnconvert."):
                yield name.removeprefix("bnconvert.")


def upward(name: str, source: str) -> list[str]:
    """Return the imports of a module that do not go down."""
    here = place(name)
    return [target for target in imports(ast.parse(source)) if place(target) <= here]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_down_only(path: Path) -> None:
    assert upward(module_name(path), path.read_text()) == []


def test_an_upward_import_is_seen() -> None:
    upper = "from bnconvert.conversion.conversion import convert"
    assert upward("modules.survey", upper) == ["conversion.conversion"]
    inner = "def f():\n    import bnconvert.conversion.policy"
    assert upward("modules.site", inner) == ["conversion.policy"]
    assert upward("norms.keep", "from bnconvert.norms.group import Group") == ["norms.group"]
    folds = "from bnconvert.folding.folds import FOLDS"
    assert upward("folding.folds.direct", folds) == ["folding.folds"]
    with pytest.raises(AssertionError, match="is on no floor"):
        upward("novelty", "")


def test_the_house_is_seen_from_its_door() -> None:
    entries = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len([path for path in entries if path.is_dir()]) <= 14
    assert {path.name for path in entries if path.is_file()} == {
        "__init__.py",
        "__main__.py",
        "conventions.py",
        "errors.py",
        "py.typed",
    }


def test_a_room_is_seen_from_its_door() -> None:
    for folder in {path.parent for path in FILES}:
        assert len([*folder.glob("*.py")]) <= 24, f"{folder.name}: which room of its own is inside?"


def inner_room(name: str) -> str:
    """Return the room inside of a room that a module is in, such as "folding.folds", or nothing."""
    folder = name if PACKAGE.joinpath(*name.split(".")).is_dir() else name.rpartition(".")[0]
    return folder if "." in folder else ""


def test_rooms_inside_a_room_form_no_circle() -> None:
    below: dict[str, set[str]] = {}
    for path in FILES:
        targets = {inner_room(target) for target in imports(ast.parse(path.read_text()))}
        here = inner_room(module_name(path))
        below.setdefault(here, set()).update(targets - {here, ""})
    del below[""]
    TopologicalSorter(below).prepare()  # raises CycleError


def test_every_floor_has_a_file() -> None:
    there = {module_name(path) for path in FILES}
    floors = {name.partition(".")[0] for name in there}
    assert set(FLOORS) == floors
    for floor, rooms in ROOMS.items():
        assert {name.partition(".")[2] for name in there if name.startswith(f"{floor}.")} == set(
            rooms
        )


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_file_is_one_small_noun(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert path.stem not in NAMELESS
    assert len(path.read_text().splitlines()) <= 250
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            documented = ast.get_docstring(node, clean=False) or ""
            lines = node.end_lineno - node.lineno + 1 - len(documented.splitlines())
            assert lines < 40, f"{node.name} has {lines} lines"

"""The architecture: imports go down only, and files and functions stay small."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bnconvert"
#: From the doors down to the ground: a file imports only from below it.
FLOORS = (
    "__main__",
    "cli",
    "__init__",
    "deployment",
    "candidate",
    "metadata",
    "finetuning",
    "checkpointing",
    "diagnosis",
    "inspection",
    "evaluation",
    "statistics",
    "folding",
    "grafting",
    "weight_range",
    "graft",
    "conversion",
    "conventions",
    "planning",
    "policy",
    "grammar",
    "measuring",
    "norms",
    "findings",
    "folds",
    "layers",
    "parting",
    "onnx_tracing",
    "proving",
    "onnx_file",
    "graphs",
    "folded_module",
    "quiet",
    "replacement",
    "rewrite",
    "switches",
    "scratch",
    "tracing",
    "site",
    "preprocessed",
    "deployable",
    "untrained",
    "copying",
    "surgery",
    "kinds",
    "tracking",
    "recomputing",
    "normalization",
    "lockstep",
    "torch_state",
    "progress",
    "reporting",
    "examples",
    "numerics",
    "errors",
)
#: The order inside packages, where a file imports a sibling.
ROOMS = {
    "cli": (
        "__init__",
        "inspect",
        "diagnose",
        "convert",
        "prepare",
        "fold",
        "export",
        "verify",
        "recompute",
        "data",
        "npz",
        "images",
        "scores",
        "model_source",
        "user_code",
        "output",
        "options",
    ),
    "norms": (
        "__init__",
        "separate",
        "virtual",
        "separated",
        "adaptive",
        "renorm",
        "ghost",
        "sync",
        "group",
        "frozen",
        "keep",
    ),
    "findings": ("__init__", "configuration", "stored", "measured", "rule"),
    "measuring": (
        "minibatch",
        "layerwise",
        "batch_forward",
        "task",
        "activation_paging",
        "swap_file",
        "batches",
        "ranks",
        "reach_order",
        "interception",
        "report_rows",
        "estimate",
        "targets",
        "observing",
        "__init__",
    ),
    "folds": (
        "fixpoint",
        "postcondition",
        "outcome",
        "__init__",
        "sequences",
        "branches",
        "split",
        "forward",
        "through",
        "affine",
        "direct",
        "constants",
        "fold",
    ),
    "layers": (
        "way",
        "geometry",
        "conv_transpose",
        "conv",
        "linear",
        "weights",
        "products",
        "sums",
        "activations",
        "affine",
        "concatenation",
        "padding",
        "pieces",
        "pooling",
        "resizing",
        "views",
        "layer",
        "plan",
        "__init__",
    ),
    "proving": (
        "verification",
        "comparison",
        "verdict",
        "agreement",
        "reference",
        "tolerance",
        "cases",
        "onnx_runner",
        "bounded_outputs",
        "finding_ids",
        "discontinuities",
        "__init__",
    ),
    "graphs": (
        "forms",
        "network",
        "parts",
        "capturing",
        "functionalizing",
        "regions",
        "program",
        "aten",
        "__init__",
    ),
    "parting": (
        "localization",
        "divergence",
        "value_matching",
        "operator_mapping",
        "dual_precision",
        "onnx_graph",
        "__init__",
    ),
    "reporting": ("report", "plot", "rendering", "records", "table", "__init__"),
    "numerics": (
        "reduced",
        "batch_norm",
        "slices",
        "blocks",
        "kernels",
        "moments",
        "linear_maps",
        "channel_map",
        "distance",
        "random_state",
        "__init__",
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
    room = room or "__init__"
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
    assert upward("tracing", "from bnconvert.conversion import convert") == ["conversion"]
    assert upward("site", "def f():\n    import bnconvert.policy") == ["policy"]
    assert upward("norms.keep", "from bnconvert.norms.group import Group") == ["norms.group"]
    with pytest.raises(AssertionError, match="is on no floor"):
        upward("novelty", "")


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
